"""What a user writes, checked by mypy --strict and pyright --strict."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import tollgate
from tollgate import Answer, AsyncTollgate, Organization, Receipt, ServiceAccount, Tollgate


def ask(client: Tollgate) -> int:
    answer: Answer = client.chat("llama3.2", "Why?", system="Be brief.", temperature=0.2, max_tokens=50, format={"type": "object"})
    for piece in answer:
        print(piece.upper())
    receipt: Receipt = answer.receipt
    text: str = client.generate("llama3.2", "Once", suffix="end", stop=["\n"]).text
    history = [{"role": "user", "content": "Hi."}, answer.message]
    client.chat("llama3.2", history, tools=[{"name": "weather"}], think=True, keep_alive=timedelta(minutes=5))
    for entry in client.history(limit=5):
        print(entry.credits + entry.available, entry.created_at)
    vectors = client.embed("embedder", ["a", "b"], dimensions=4)
    print(sum(vectors[0]), len(vectors), [len(each) for each in vectors], text)
    return (receipt.cost or 0) + client.balance().available


def share(client: Tollgate, who: str) -> list[str]:
    physics: Organization = client.organizations.create("physics")
    code: str = client.organizations.invite(physics, monthly_cap=100, lifetime=timedelta(days=1)).code
    for member in client.organizations.members(physics):
        client.organizations.set_cap(member, (member.spent_this_month or 0) + 10, physics)
    bot: ServiceAccount = client.organizations.create_service_account("bot", physics)
    with Tollgate.login(account=physics.account_id, scopes=["inference"], show=lambda sign_in: print(sign_in.code)) as other:
        print(other.me().organization, who)
    return [code, client.keys.create(service_account=bot).key]


async def ask_too() -> str:
    async with await AsyncTollgate.login("ada", "a pass phrase") as client:
        made = await client.keys.create("laptop", lifetime=timedelta(days=30))
        answer = client.chat(None, "Hi.", request_id="mine")
        async for piece in answer:
            print(piece.upper())
        async for entry in client.history():
            print(entry.kind)
        async for part in client.chat("m", "Hi.").pieces():
            print(part.thinking)
        return made.key + (await client.chat("m", "Hi.")).text


def main() -> None:
    try:
        with Tollgate(key="tg_", profile="work") as client:
            print(ask(client))
    except tollgate.InsufficientCredits as error:
        print(error.message, error.receipt, error.quotas)
    except (tollgate.RateLimited, tollgate.errors.UpstreamBusy) as error:
        print((error.retry_after or 0.0) + 1)
    except tollgate.RequestError as error:
        print([each.field for each in error.field_violations])
    except tollgate.SessionEnded as error:
        print(error.refusal.reason)
    asyncio.run(ask_too())
