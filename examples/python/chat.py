"""Asks a model through the Python client: the answer as it comes, what it cost, and what can go wrong.

    pip install ./clients/python
    TOLLGATE_API_KEY=tg_… python examples/python/chat.py llama3.2 "Why is the sky blue?"
"""

import sys

import tollgate
from tollgate import Tollgate


def main(model: str, question: str) -> int:
    # The key, and where the services are, come from the environment or from ~/.config/tollgate/config.yaml.
    with Tollgate() as client:
        try:
            answer = client.chat(model, question, max_tokens=100)
            for piece in answer:
                print(piece, end="", flush=True)
            print(f"\n{answer.receipt}", file=sys.stderr)
        except tollgate.InsufficientCredits:
            print(f"no credits left: {client.balance().available}", file=sys.stderr)
            return 3
        except tollgate.RateLimited as error:
            print(f"try again in {error.retry_after or 1:.0f} s", file=sys.stderr)
            return 75
        except tollgate.TollgateError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
