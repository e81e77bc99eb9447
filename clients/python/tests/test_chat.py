"""Answers: streamed, left early, repeated, broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tollgate
from conftest import SECONDS, Stack, started, until
from tollgate import AsyncTollgate, Tollgate

TEN = "".join(f"word{number} " for number in range(10))


def test_a_chat_gives_its_text_in_pieces_and_its_receipt_at_the_end(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    with client_class(person.key(), **person.at) as client:
        answer = client.chat("stand-in", "Hi.", max_tokens=10)
        pieces = list(answer)
        assert len(pieces) == 10 and "".join(pieces) == answer.text == TEN
        receipt = answer.receipt
        assert (receipt.cost, receipt.left, receipt.request_id, receipt.output_tokens) == (1, 4, answer.request_id, 10)
        assert answer.finish_reason == "length" and str(receipt).startswith("1 credit charged, 4 left; ")
        assert client.receipt(answer.request_id).cost == 1
        assert client.balance().available == 4
        [entry] = [each for each in client.history() if each.kind == "settle"]
        assert (entry.credits, entry.available, entry.request_id) == (-1, 4, answer.request_id)
        assert [each.kind for each in client.history(limit=1)] == ["settle"]


def test_a_chat_that_is_not_streamed_is_whole_when_the_call_returns(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class(person.key(), **person.at) as client:
        answer = client.chat("stand-in", "Hi.", max_tokens=10, stream=False)
        assert (answer.so_far, answer.finish_reason) == (TEN, "length")
        assert "".join(answer) == "".join(answer) == TEN, "it may be iterated again, from its beginning"


async def test_an_awaited_chat_is_whole_and_one_that_is_not_at_its_end_says_so(stack: Stack) -> None:
    person = stack.person()
    async with AsyncTollgate(person.key(), **person.at) as client:
        whole = await client.chat("stand-in", "Hi.", max_tokens=10)
        assert whole.text == TEN and whole.receipt.cost == 1
        answer = client.chat("stand-in", "Hi.", max_tokens=10)
        with pytest.raises(tollgate.AnswerLeft):
            answer.text
        # Nobody has begun to read it: that isn't leaving it.
        answer.pieces()
        assert [piece async for piece in answer] == [f"word{number} " for number in range(10)] and answer.text == TEN


@pytest.mark.parametrize("way", ["break", "close", "with", "dropped"])
def test_a_stream_that_is_left_early_is_settled_for_what_was_delivered(stack: Stack, client_class: Any, way: str) -> None:
    person = stack.person(5000)
    with client_class(person.key(), **person.at) as client:
        read = 0
        if way == "dropped":
            for piece in client.chat("slow", "Go on.", max_tokens=2000):
                read += bool(piece)
                if read == 3:
                    break
        else:
            answer = client.chat("slow", "Go on.", max_tokens=2000)
            if way == "with":
                with answer:
                    # Kept: it isn't the iterator's end that is looked at.
                    iterator = iter(answer)
                    read = sum(bool(next(iterator)) for _ in range(3))
            for piece in () if way == "with" else answer:
                read += bool(piece)
                if read == 3 and way == "close":
                    answer.close()
                elif read == 3:
                    break
            with pytest.raises(tollgate.AnswerLeft, match=answer.request_id):
                answer.receipt
        balance = person.settled()
        [charge] = person.charges()
        assert read == 3 and balance.spent == charge and 1 + read <= charge < 500, "not for the 2000 words that it could have become"


async def test_a_task_that_is_cancelled_cancels_its_stream(stack: Stack) -> None:
    person = stack.person(5000)
    async with AsyncTollgate(person.key(), **person.at) as client:
        read: list[str] = []

        async def listen() -> None:
            async for piece in client.chat("slow", "Go on.", max_tokens=2000):
                read.append(piece)

        task = asyncio.create_task(listen())
        while len(read) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.to_thread(person.settled)
    [charge] = await asyncio.to_thread(person.charges)
    assert 4 <= charge < 500


INTERRUPTED = """
import sys
from tollgate import AsyncTollgate, Tollgate

key, url, auth_url, way = sys.argv[1:]

def threads():
    for piece in Tollgate(key, url=url, auth_url=auth_url).chat("slow", "Go on.", max_tokens=2000):
        print(piece, flush=True)

async def loop():
    async for piece in AsyncTollgate(key, url=url, auth_url=auth_url).chat("slow", "Go on.", max_tokens=2000):
        print(piece, flush=True)

try:
    if way == "threads":
        threads()
    else:
        import asyncio
        asyncio.run(loop())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("way", ["threads", "asyncio"])
def test_ctrl_c_in_a_stream_is_a_keyboard_interrupt_and_cancels_the_call(stack: Stack, way: str) -> None:
    person = stack.person(5000)
    program = [sys.executable, "-c", INTERRUPTED, person.key(), stack.url, stack.auth_url, way]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        for number in range(3):
            assert process.stdout.readline().strip() == f"word{number}"
        import signal

        process.send_signal(signal.SIGINT)
        rest, said = process.stdout.read(), process.stderr.read()
        assert process.wait(SECONDS) == 0, said
    assert rest.endswith("interrupted\n") and not said, said
    person.settled()
    [charge] = person.charges()
    assert 4 <= charge < 500


def test_a_repetition_under_the_same_request_id_is_charged_once(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    with client_class(person.key(), **person.at) as client:
        first = client.chat("stand-in", "Hi.", max_tokens=10, request_id="my-own-id")
        assert first.text == TEN and not first.replayed
        again = client.chat("stand-in", "Hi.", max_tokens=10, request_id="my-own-id")
        assert (again.text, again.replayed, again.receipt.cost) == ("", True, 1)
        with pytest.raises(tollgate.RequestIdReused):
            client.chat("stand-in", "Something else.", max_tokens=10, request_id="my-own-id").text
        assert client.balance().available == 4


def test_a_model_server_that_breaks_in_the_middle_is_an_error_with_what_came_and_what_it_cost(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    with client_class(person.key(), **person.at) as client:
        answer = client.chat("breaks", "Hi.")
        pieces = []
        with pytest.raises(tollgate.UnavailableError) as broken:
            for piece in answer:
                pieces.append(piece)
        assert pieces == ["word0 ", "word1 "] == [each + " " for each in answer.so_far.split()]
        assert isinstance(broken.value, tollgate.UpstreamUnavailable) and broken.value.request_id == answer.request_id
        assert broken.value.receipt and broken.value.receipt.cost == 1
        with pytest.raises(tollgate.UpstreamUnavailable):
            answer.text
    assert person.charges() == [1], "it was not sent again: two words were delivered"


def test_a_service_that_dies_in_mid_stream_is_an_interruption_with_the_request_id(upstream: str, tmp_path: Path, client_class: Any) -> None:
    with started(tmp_path / "dies", upstream, TOLLGATE_HOLD_TTL="1s", TOLLGATE_SWEEP_INTERVAL="100ms") as stack:
        person = stack.person(5000)
        with client_class(person.key(), **person.at) as client:
            answer = client.chat("slow", "Go on.", max_tokens=2000)
            with pytest.raises(tollgate.Interrupted) as broken:
                for number, _ in enumerate(answer):
                    if number == 2:
                        stack.inference.kill()
            assert broken.value.request_id == answer.request_id


def test_a_stream_ends_at_its_time_limit(stack: Stack, client_class: Any) -> None:
    person = stack.person(5000)
    with client_class(person.key(), **person.at) as client:
        # Long enough for its first words.
        answer = client.chat("slow", "Go on.", max_tokens=2000, timeout=3)
        with pytest.raises((tollgate.TimedOut, tollgate.DeadlineExceeded)) as over:
            answer.text
        assert answer.so_far.startswith("word0 ") and over.value.request_id == answer.request_id
    person.settled()
    [charge] = person.charges()
    assert 1 <= charge < 500


def test_a_conversation_goes_on_with_the_answers_own_message_and_tools_are_called(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    weather = {"name": "weather", "description": "of a place", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    with client_class(person.key(), **person.at) as client:
        asked: list[Any] = [{"role": "user", "content": "What says weather?"}]
        answer = client.chat("capable", asked, tools=[weather], system="Be brief.")
        [call] = answer.tool_calls
        assert (call.name, call.arguments, answer.finish_reason) == ("weather", {"city": "Paris"}, "tool_calls")
        result = {"role": "tool", "tool_name": call.name, "tool_call_id": call.id, "content": "rain"}
        told = client.chat("capable", [*asked, answer.message, result], tools=[weather])
        assert told.text == "The tool says: rain" and told.message == {"role": "assistant", "content": told.text}


def test_options_reach_the_model(stack: Stack, client_class: Any, tmp_path: Path) -> None:
    person = stack.person()
    picture = tmp_path / "a.png"
    picture.write_bytes((Path(__file__).parents[3] / "tests/integration/fixtures/pixel.png").read_bytes())
    with client_class(person.key(), **person.at) as client:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        assert client.chat("capable", "Where?", format=schema).text == '{"city": "Paris"}'
        assert client.chat("capable", "told", format="json").text == '{"told": "told"}'
        thoughtful = client.chat("capable", "Hi.", think=True)
        assert (thoughtful.thinking, thoughtful.text) == ("Let me think. ", "I was told: Hi.")
        looked = [{"role": "user", "content": "Look.", "images": [picture]}]
        seen = client.chat("capable", looked, system="Obey.", stop="zzz", temperature=0)
        assert "a picture: PNG" in seen.text and "My orders: Obey." in seen.text
        assert client.generate("capable", "Go on", system="Obey.").text == "I was told: Go on My orders: Obey."
        with pytest.raises(TypeError, match="known: format"):
            client.chat("capable", "Hi.", max_token=3)


def test_models_are_listed_and_shown_and_one_may_be_meant_where_none_is_named(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class(person.key(), model="stand-in", **person.at) as client:
        assert "stand-in" in [each.name for each in client.models()]
        assert client.show("capable").capabilities == ("completion", "tools", "vision", "thinking", "insert")
        assert client.chat(None, "Hi.", max_tokens=10).text == TEN and client.show().name == "stand-in"
    with client_class(person.key(), **person.at) as client:
        with pytest.raises(tollgate.ConfigurationError, match="name a model"):
            client.chat(None, "Hi.")


def test_texts_become_vectors_with_a_receipt(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    with client_class(person.key(), **person.at) as client:
        found = client.embed("embedder", ["one", "another"])
        assert len(found) == 2 and len(found[0]) == 8 and found[0] != found[1]
        assert (found.receipt.cost, found.receipt.left) == (1, 4)
        assert client.embed("embedder", "one")[0] == found[0]


def test_usage_is_told_by_day_and_model(stack: Stack, client_class: Any) -> None:
    person = stack.person(100)
    with client_class(person.key(), **person.at) as client:
        for _ in range(2):
            assert client.chat("stand-in", "Hi.", max_tokens=3).text
        assert client.chat("slow", "Hi.", max_tokens=4).receipt.cost == 5
        usage = client.usage()
        found = {(row.model.partition(":")[0], row.calls, row.output_tokens, row.charged) for row in usage}
        assert found == {("stand-in", 2, 6, 2), ("slow", 1, 4, 5)}
        assert (usage.last_day - usage.first_day).days == 29 and usage.complete_from == usage.first_day
        assert {row.day for row in usage} <= {usage.last_day, usage.last_day - timedelta(days=1)}
        assert len(client.usage(usage.first_day - timedelta(days=9), str(usage.first_day))) == 0
        with pytest.raises(tollgate.InvalidArgument):
            client.usage("yesterday")


def test_a_client_that_is_closed_says_so_and_its_with_block_closes_it(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class(person.key(), **person.at) as client:
        assert client.balance().available == 100
        client.close()
        with pytest.raises(tollgate.ConfigurationError, match="closed"):
            client.balance()


def test_a_client_that_is_closed_ends_what_runs_on_it_with_a_typed_error(stack: Stack) -> None:
    from threading import Thread

    person = stack.person(5000)
    client = Tollgate(person.key(), **person.at)
    ended: list[Any] = []

    def listen() -> None:
        try:
            for piece in client.chat("slow", "Go on.", max_tokens=2000):
                ended.append(piece)
        except tollgate.TollgateError as error:
            ended.append(error)

    thread = Thread(target=listen)
    thread.start()
    until("it streams", lambda: len(ended) >= 3)
    client.close()
    thread.join(SECONDS)
    assert isinstance(ended[-1], tollgate.AbortedError) and ended[-1].request_id
    person.settled()
    assert 4 <= person.charges()[0] < 500


async def test_an_async_client_that_is_closed_ends_what_runs_on_it_with_a_typed_error(stack: Stack) -> None:
    person = stack.person(5000)
    client = AsyncTollgate(person.key(), **person.at)
    read: list[str] = []

    async def listen() -> None:
        async for piece in client.chat("slow", "Go on.", max_tokens=2000):
            read.append(piece)

    task = asyncio.create_task(listen())
    while len(read) < 3:
        await asyncio.sleep(0.01)
    await client.close()
    with pytest.raises(tollgate.AbortedError, match="closed meanwhile"):
        await task


def test_an_answer_that_nobody_reads_is_settled_when_it_is_dropped(stack: Stack) -> None:
    person = stack.person(5000)
    with Tollgate(person.key(), **person.at) as client:
        client.chat("slow", "Go on.", max_tokens=2000)
        person.settled()
        assert sum(person.charges()) < 500


def test_threads_share_a_client(stack: Stack) -> None:
    from concurrent.futures import ThreadPoolExecutor

    person = stack.person(50)
    with Tollgate(person.key(), **person.at) as client, ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda _: client.chat("stand-in", "Hi.", max_tokens=10).text, range(40)))
    assert texts == [TEN] * 40 and person.settled().available == 10


def test_an_event_loop_that_is_over_gives_way_to_the_next(stack: Stack) -> None:
    person = stack.person()
    client = AsyncTollgate(person.key(), **person.at)
    assert [asyncio.run(client.balance()).available for _ in range(2)] == [100, 100]


def test_polling_has_a_deadline() -> None:
    assert until("a time", time.monotonic)
