"""Passwords, tokens and keys are shown nowhere: not by objects, not by errors, not in logs, not in files."""

from __future__ import annotations

import copy
import logging
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import tollgate
from conftest import PASSWORD, Stack
from scripted import Scripted
from tollgate import Tollgate


def canaries(client: Any) -> list[str]:
    """All that must not be shown of a client that is signed in."""
    inner = client.client if hasattr(client, "client") else client
    tokens = inner._session._state.tokens
    assert tokens.refresh
    return [PASSWORD, tokens.access.expose(), tokens.refresh.expose()]


def shown(thing: Any, depth: int = 6) -> str:
    """What anybody sees of an object who prints it, its variables, and theirs."""
    if depth == 0 or isinstance(thing, (str, bytes, int, float, type)) or thing is None:
        return repr(thing)
    inside = list(vars(thing).values()) if hasattr(thing, "__dict__") and not isinstance(thing, type(sys)) else []
    inside += list(thing.values()) if isinstance(thing, dict) else list(thing) if isinstance(thing, (list, tuple, set)) else []
    return "\n".join([repr(thing), *(shown(each, depth - 1) for each in inside)])


def test_neither_client_shows_key_password_or_token(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    key = person.key()
    with client_class(key, **person.at) as keyed, client_class.login(person.name, PASSWORD, **person.at) as signed_in:
        keyed.balance()
        signed_in.refresh()
        for client, secrets in ((keyed, [key]), (signed_in, canaries(signed_in))):
            inner = client.client if hasattr(client, "client") else client
            assert "with a key" in repr(inner) or "signed in" in repr(inner)
            text = shown(inner) + str(inner) + f"{inner}" + (shown(inner._session._state) if inner._session else "")
            assert all(secret not in text for secret in secrets) and text.count("Secret(…)") > 0
            for way in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="can't be pickled or copied"):
                    way(inner)


def frames_of(error: BaseException) -> str:
    """What a report says that shows the variables of each frame, with all errors that led to this one."""
    told, seen = "", set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        frame = error.__traceback__
        while frame:
            told += repr(frame.tb_frame.f_locals) if frame.tb_frame.f_globals.get("__name__", "").startswith(("tollgate", "grpc")) else ""
            frame = frame.tb_next
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return told


def raised(call: Any) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it went through")


def test_no_error_leads_to_a_secret_or_a_prompt(stack: Stack, client_class: Any, home: Path) -> None:
    person = stack.person(0)
    key = person.key()
    at = person.at
    prompt = "canary-prompt"

    def refused_login() -> None:
        client_class.login(person.name, "canary-another pass phrase", **at)

    def unreachable_login() -> None:
        client_class.login(person.name, "canary-another pass phrase", auth_url="http://127.0.0.1:1")

    def wrong_file() -> None:
        file = home / ".config/tollgate/config.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("default: {key: canary-key}\nother: {keys: canary-key}")
        file.chmod(0o600)
        try:
            client_class()
        finally:
            file.unlink()

    with client_class(key, max_retries=0, **at) as client, client_class.login(person.name, PASSWORD, **at) as signed_in:
        calls = [
            lambda: client.chat("stand-in", prompt, stream=False),
            lambda: client.keys.list(),
            lambda: signed_in.keys.revoke("nobody"),
            lambda: client_class("canary key"),
            refused_login,
            unreachable_login,
            wrong_file,
        ]
        secrets = [*canaries(signed_in), key, "canary-another", "canary-key", "canary key", prompt]
        for number, call in enumerate(calls):
            error = raised(call)
            assert isinstance(error, tollgate.TollgateError), error
            told = frames_of(error) + repr(vars(error)) + repr(error.args)
            # What the test itself was given stands in its own frames.
            ours = "\n".join(line for line in told.splitlines() if "test_secrets" not in line and not line.startswith("    "))
            assert all(secret not in ours for secret in secrets), f"call {number}: {ours}"
            assert error.__cause__ is None and error.__context__ is None


def test_a_keyboard_interrupt_in_a_login_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal
    import threading

    def wait(_request: Any, context: Any) -> Any:
        threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGINT)).start()
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(30)
        context.abort(*bare_abort())

    def bare_abort() -> Any:
        import grpc

        return grpc.StatusCode.CANCELLED, "gone"

    with Scripted(wait) as server:
        error = raised(lambda: Tollgate.login("ada", "canary-password", **server.at))
    assert isinstance(error, KeyboardInterrupt) and error.__context__ is None
    frames = []
    frame = error.__traceback__
    while frame:
        frames.append(frame.tb_frame)
        frame = frame.tb_next
    inner = [each for each in frames if each.f_globals.get("__name__", "").startswith(("tollgate", "grpc"))]
    assert inner and all("canary" not in repr(each.f_locals) for each in inner)


def test_logs_at_their_most_talkative_have_no_secret(stack: Stack, client_class: Any, caplog: pytest.LogCaptureFixture) -> None:
    person = stack.person()
    key = person.key()
    with caplog.at_level(logging.DEBUG):
        with client_class(key, max_retries=1, url="http://127.0.0.1:1", auth_url=stack.auth_url) as away:
            with pytest.raises(tollgate.Unreachable):
                away.chat("stand-in", "canary-prompt").text
        with client_class.login(person.name, PASSWORD, **person.at) as client:
            assert client.chat("stand-in", "canary-prompt", max_tokens=3).text
            secrets = [*canaries(client), key, "canary-prompt", "word1"]
            client.refresh()
            client.logout()
    assert "sent again" in caplog.text and all(secret not in caplog.text for secret in secrets)


def test_a_sign_in_keeps_nothing_on_disk(stack: Stack, client_class: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    person = stack.person()
    with client_class.login(person.name, PASSWORD, **person.at) as client:
        assert client.chat("stand-in", "Hi.", max_tokens=3).text
        client.refresh()
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_an_answer_shows_neither_prompt_nor_text(stack: Stack, client_class: Any) -> None:
    person = stack.person()
    with client_class(person.key(), **person.at) as client:
        answer = client.chat("capable", "canary-prompt")
        assert "canary" in answer.text and "canary" not in repr(answer)
        pieces = [repr(each) for each in client.chat("capable", "canary-prompt", stream=False).pieces()] if client_class is Tollgate else []
        assert all("canary" not in each for each in pieces)

