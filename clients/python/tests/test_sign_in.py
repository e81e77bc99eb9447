"""Signing in, and a session that refreshes itself."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import tollgate
from conftest import PASSWORD, SECONDS, Stack, operators_stub, until
from scripted import Scripted, refuse
from tollgate import AsyncTollgate, Tollgate
from tollgate._session import NEXT_TRY_AFTER, SessionState, Standing, Tokens
from tollgate._secret import Secret
from tollgate.auth.v1 import accounts_pb2 as auth


def refreshes(client: Any) -> int:
    """How many refreshes were answered: each gives the session's next tokens."""
    client = client.client if hasattr(client, "client") else client
    return int(client._session._state.generation)


def test_a_login_gives_a_client_that_makes_lists_rotates_and_revokes_keys(stack: Stack, client_class: Any) -> None:
    from datetime import timedelta

    person = stack.person()
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        assert (client.me().name, client.me().role) == (person.name, "user")
        made = client.keys.create("laptop", scopes=["chat"], models=["stand-in"], networks=["127.0.0.0/8"], lifetime=timedelta(days=1))
        assert made.key.startswith("tg_") and made.key not in repr(made) and made.api_key.scopes == ("chat",)
        assert made.api_key.expires_at and made.api_key.networks == ("127.0.0.0/8",)
        turned = client.keys.rotate(made.api_key.id, grace=0)
        with client_class(made.key, **person.at) as old, client_class(turned.key, **person.at) as new:
            assert new.chat("stand-in", "Hi.", max_tokens=1).text == "word0 "
            with pytest.raises(tollgate.AuthenticationError):
                old.chat("stand-in", "Hi.", max_tokens=1).text
        assert [each.name for each in client.keys.list()] == ["laptop"] and len(client.keys.list()[0].secrets) == 2
        assert client.keys.revoke(made.api_key.id).revoked_at
        [session] = [each for each in client.sessions.list() if each.current]
        assert session.client == f"tollgate-python {tollgate.__version__}"


def test_a_wrong_password_is_an_error_of_its_own_and_a_locked_user_gets_the_same(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with pytest.raises(tollgate.LoginFailed):
        client_class.login(person.name, "another pass phrase", **person.at)


def test_signing_out_ends_the_session_for_good(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class.login(person.name, PASSWORD, **person.at) as client, client_class.login(person.name, PASSWORD, **person.at) as other:
        client.logout()
        with pytest.raises(tollgate.SessionEnded, match="you signed out"):
            client.balance()
        assert "without a credential" in repr(client) and "signed in" in repr(other)
        other.logout(everywhere=True)
        with pytest.raises(tollgate.SessionEnded):
            other.refresh()
    with client_class(person.at["url"], **{**person.at, "url": None}) as client:
        with pytest.raises(tollgate.ConfigurationError, match="isn't signed in"):
            client.logout()


def most_refreshes(began: float) -> int:
    """How many there may be since then: a token is refreshed after four fifths of a second, at the earliest."""
    return 1 + int((time.monotonic() - began) / 0.8)


def test_fifty_threads_share_one_client_while_the_token_is_refreshed(brief: Stack) -> None:
    person = brief.person(10_000)
    with person.client() as client, ThreadPoolExecutor(50) as pool:
        before = refreshes(client)
        # Longer than a token lives: one or two seconds, since its end is a whole second. At four fifths of that it is refreshed.
        began = time.monotonic()
        end = began + 2.6

        def work(_: int) -> int:
            calls = 0
            while time.monotonic() < end:
                assert client.balance().account_id
                calls += 1
            return calls

        assert sum(pool.map(work, range(50))) > 100
        assert 1 <= refreshes(client) - before <= most_refreshes(began)
        assert len([each for each in client.sessions.list() if each.current]) == 1


async def test_fifty_tasks_share_one_client_while_the_token_is_refreshed(brief: Stack) -> None:
    person = brief.person(10_000)
    async with await AsyncTollgate.login(person.name, PASSWORD, **person.at) as client:
        before = refreshes(client)
        began = time.monotonic()
        end = began + 2.6

        async def work() -> int:
            calls = 0
            while time.monotonic() < end:
                assert (await client.balance()).account_id
                calls += 1
            return calls

        assert sum(await asyncio.gather(*(work() for _ in range(50)))) > 100
        assert 1 <= refreshes(client) - before <= most_refreshes(began)


def test_a_token_that_is_over_is_renewed_once_for_all_who_wait(brief: Stack) -> None:
    person = brief.person()
    with person.client() as client:
        until("the token is over", lambda: client._session._state.look()[2] is Standing.OVER)
        before = refreshes(client)
        with ThreadPoolExecutor(50) as pool:
            assert {each.account_id for each in pool.map(lambda _: client.balance(), range(50))}
        assert refreshes(client) - before == 1


async def test_a_token_that_is_over_is_renewed_once_for_all_tasks_and_one_that_is_cancelled_loses_nothing(brief: Stack) -> None:
    person = brief.person()
    async with await AsyncTollgate.login(person.name, PASSWORD, **person.at) as client:
        session: Any = client._session
        while session._state.look()[2] is not Standing.OVER:
            await asyncio.sleep(0.02)
        before = refreshes(client)
        tasks = [asyncio.create_task(client.balance()) for _ in range(50)]
        await asyncio.sleep(0)
        # The one that began the refresh.
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError) and refreshes(client) - before == 1
        assert [each for each in found[1:] if isinstance(each, BaseException)] == []


def test_a_stream_goes_on_while_the_token_is_refreshed(brief: Stack, client_class: Any) -> None:
    person = brief.person(10_000)
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        answer = client.chat("slow", "Go on.", max_tokens=90)
        read = 0
        for read, _ in enumerate(answer, 1):
            if read % 30 == 0:
                client.refresh()
        assert read == 90 and answer.receipt.cost == 91 and refreshes(client) >= 3


def test_a_refused_refresh_is_a_typed_error_and_nothing_is_asked_again(brief: Stack, client_class: Any) -> None:
    person = brief.person()
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        [mine] = [each for each in client.sessions.list() if each.current]
        person.here.sessions.revoke(mine.id)
        with pytest.raises(tollgate.SessionEnded) as ended:
            client.balance()
        assert isinstance(ended.value.refusal, tollgate.CredentialRevoked) and ended.value.reason == "CREDENTIAL_REVOKED"
        before = refreshes(client)
        with pytest.raises(tollgate.SessionEnded):
            client.refresh()
        assert refreshes(client) == before
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        operators_stub(brief).disable(person.name)
        with pytest.raises(tollgate.SessionEnded) as disabled:
            client.refresh()
        assert isinstance(disabled.value.refusal, (tollgate.UserDisabled, tollgate.CredentialRevoked))


def test_a_token_that_a_service_refuses_is_renewed_and_the_call_sent_once_more(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        session = client.client._session if hasattr(client, "client") else client._session
        kept = session._state.tokens
        forged = Secret("eyJhbGciOiJIUzI1NiJ9." + "x" * 120)
        session._state.tokens = Tokens(kept.session_id, forged, kept.expires_at, kept.refresh, kept.refresh_expires_at, kept.refresh_at)
        assert client.chat("stand-in", "Hi.", max_tokens=1).text == "word0 " and session._state.generation == 1


def test_a_token_is_renewed_after_four_fifths_of_its_life_and_not_again_at_once_when_that_came_to_nothing() -> None:
    answer = auth.LoginResponse(access_token="a", refresh_token="r", session_id="s")
    answer.expires_at.FromSeconds(1_100)
    tokens = Tokens.of(answer, now=1_000)
    assert tokens.refresh_at == 1_080
    state = SessionState(tokens)
    assert [state.standing(at, 0) for at in (1_079, 1_080, 1_099, 1_100)] == [Standing.GOOD, Standing.DUE, Standing.DUE, Standing.OVER]
    state.failed(tollgate.Unreachable("away"))
    tick = time.monotonic()
    assert [state.standing(1_099, tick), state.standing(1_099, tick + NEXT_TRY_AFTER + 1)] == [Standing.GOOD, Standing.DUE]
    # A clock that is ahead of the end tells nothing: the service says when it is time.
    assert SessionState(Tokens.of(answer, now=1_101)).standing(5_000, 0) is Standing.GOOD


ASKED = """
import sys
from tollgate import Tollgate
client = Tollgate.login(sys.argv[3], url=sys.argv[1], auth_url=sys.argv[2])
print("signed in as", client.me().name)
"""


def test_a_terminal_is_asked_for_the_password_and_does_not_show_it(stack: Stack) -> None:
    person = stack.person()
    parent, child = pty.openpty()
    command = [sys.executable, "-c", ASKED, stack.url, stack.auth_url, person.name]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    shown = ""
    try:
        shown += read_until(parent, f"Password for {person.name}: ")
        os.write(parent, PASSWORD.encode() + b"\n")
        shown += read_until(parent, f"signed in as {person.name}")
    finally:
        assert process.wait(SECONDS) == 0, shown
        os.close(parent)
    assert PASSWORD not in shown


def read_until(terminal: int, text: str) -> str:
    import select

    shown = ""
    deadline = time.monotonic() + SECONDS
    while text not in shown:
        assert time.monotonic() < deadline, f"{text!r} doesn't come after {shown!r}"
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown


def test_a_pipe_gives_the_password_and_nobody_there_is_a_typed_error(stack: Stack) -> None:
    person = stack.person()
    command = [sys.executable, "-c", ASKED, stack.url, stack.auth_url, person.name]

    def run(text: str) -> Any:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS, start_new_session=True)

    done = run(f"{PASSWORD}\n")
    assert done.returncode == 0 and f"signed in as {person.name}" in done.stdout and PASSWORD not in done.stdout + done.stderr, done.stderr
    done = run("")
    assert done.returncode == 1 and re.search(r"ConfigurationError: nobody answered", done.stderr), done.stderr


SECOND_FACTOR_REQUIRED = refuse(grpc.StatusCode.UNAUTHENTICATED, "SECOND_FACTOR_REQUIRED", "a code is needed")


def test_a_code_of_the_second_factor_goes_with_the_password_and_where_nobody_can_be_asked_its_lack_is_a_typed_error(
    client_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with Scripted(signed_in, SECOND_FACTOR_REQUIRED, SECOND_FACTOR_REQUIRED) as server:
        client_class.login("ada", PASSWORD, second_factor_code="canary-123456", **server.at).close()
        assert server.requests[0].second_factor_code == "canary-123456"
        for given in ({}, {"second_factor_code": "canary-654321"}):
            before = len(server.requests)
            with pytest.raises(tollgate.SecondFactorRequired) as refused:
                client_class.login("ada", PASSWORD, **given, **server.at)
            assert len(server.requests) == before + 1 and "canary" not in repr(refused.value)


def test_who_is_asked_for_the_password_is_asked_for_the_code_where_there_is_a_second_factor() -> None:
    with Scripted(SECOND_FACTOR_REQUIRED, signed_in, SECOND_FACTOR_REQUIRED) as server:
        program = "import sys\nfrom tollgate import Tollgate\nTollgate.login('ada', auth_url=sys.argv[1])"
        command = [sys.executable, "-c", program, server.at["url"]]

        def run(text: str) -> Any:
            return subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS, start_new_session=True)

        done = run(f"{PASSWORD}\n123456\n")
        assert done.returncode == 0 and [each.second_factor_code for each in server.requests] == ["", "123456"], done.stderr
        done = run(f"{PASSWORD}\n")
        assert done.returncode == 1 and "SecondFactorRequired" in done.stderr and PASSWORD not in done.stderr


def signed_in(_request: Any, _context: Any) -> auth.LoginResponse:
    return auth.LoginResponse(access_token="canary-access", refresh_token="canary-refresh", session_id="s")


def test_a_password_is_never_an_argument_that_is_kept(stack: Stack) -> None:
    person = stack.person()
    with Tollgate.login(person.name, PASSWORD, **person.at) as client:
        assert PASSWORD not in repr(vars(client)) + repr([vars(each) for each in vars(client).values() if hasattr(each, "__dict__")])
