"""Asks several questions at once on one connection, and adds up what they cost.

    TOLLGATE_API_KEY=tg_… python examples/python/many_at_once.py llama3.2 "Why is the sky blue?" "And the sea?"
"""

import asyncio
import sys

from tollgate import AsyncAnswer, AsyncTollgate


async def main(model: str, *questions: str) -> None:
    async with AsyncTollgate() as client:

        async def ask(question: str) -> AsyncAnswer:
            return await client.chat(model, question, max_tokens=50)

        answers = await asyncio.gather(*(ask(question) for question in questions))
        for question, answer in zip(questions, answers):
            print(f"{question}\n  {answer.text.strip()}\n")
        total = sum(answer.receipt.cost or 0 for answer in answers)
        print(f"{total} credits for {len(answers)} answers, {(await client.balance()).available} left")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
