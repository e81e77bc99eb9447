"""A session in a file: the command `tollgate` and this client keep it together."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tollgate
from conftest import PASSWORD, PROGRAMS, Person, Stack, until
from tollgate import Tollgate
from tollgate._session import Standing


def command(person: Person, file: Path, *arguments: str, text: str = "") -> str:
    at = ["--auth-url", person.stack.auth_url, "--url", person.stack.url, "--session", str(file)]
    program = [str(PROGRAMS / "tollgate"), *at, *arguments]
    done = subprocess.run(program, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def signed_in(brief: Stack, tmp_path: Path) -> tuple[Person, Path]:
    """A person whom the command signed in, and the file."""
    person, file = brief.person(), tmp_path / "session"
    command(person, file, "login", person.name, text=PASSWORD + "\n")
    return person, file


def test_a_session_that_the_command_began_goes_on_here_and_there(signed_in: tuple[Person, Path], client_class: Any) -> None:
    person, file = signed_in
    with client_class(session=file, **person.at) as client:
        assert client.me().name == person.name
        before = json.loads(file.read_text())
        client.refresh()
        after = json.loads(file.read_text())
        assert before["refresh_token"] != after["refresh_token"] and before["session_id"] == after["session_id"]
        assert set(before) == set(after) and file.stat().st_mode & 0o777 == 0o600
        assert person.name in command(person, file, "me")
        session = (client.client if hasattr(client, "client") else client)._session
        until("the token is over", lambda: session._state.look()[2] is Standing.OVER)
        # It refreshes, and the client finds what it got.
        command(person, file, "balance")
        assert client.me().name == person.name
        assert sorted(each.name for each in file.parent.iterdir() if each.name != "home") == ["session", "session.lock"]


def test_programs_that_share_a_session_never_use_a_refresh_token_twice(signed_in: tuple[Person, Path], client_class: Any) -> None:
    person, file = signed_in
    with client_class(session=file, **person.at) as one, Tollgate(session=file, **person.at) as other:
        session: Any = other._session
        until("the token is over", lambda: session._state.look()[2] is Standing.OVER)
        with ThreadPoolExecutor(8) as pool:
            found = [pool.submit(command, person, file, "balance") for _ in range(4)]
            found += [pool.submit(other.balance) for _ in range(4)]
            assert one.balance().account_id and all(each.result() for each in found)
        assert len(one.sessions.list()) == 1 and other.me().name == person.name


def test_signing_out_removes_the_file(signed_in: tuple[Person, Path], client_class: Any) -> None:
    person, file = signed_in
    with client_class(session=file, **person.at) as client:
        client.logout()
        assert not file.exists()
        with pytest.raises(tollgate.SessionEnded):
            client.me()
    with pytest.raises(tollgate.ConfigurationError, match="there is no session in .*: `tollgate login` begins one"):
        client_class(session=file, **person.at)


def test_a_kept_session_goes_to_the_server_that_began_it_alone(signed_in: tuple[Person, Path], home: Path) -> None:
    person, file = signed_in
    kept = home / ".local/state/tollgate/sessions/default"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({**json.loads(file.read_text()), "auth_url": person.stack.auth_url + "/"}))
    kept.chmod(0o600)
    with Tollgate(**person.at) as client:
        assert client.me().name == person.name
        client.refresh()
        assert json.loads(kept.read_text())["auth_url"] == person.stack.auth_url + "/", "it stays in the file"
    with pytest.raises(tollgate.ConfigurationError, match="goes to no other server: log in again"):
        Tollgate(auth_url="http://127.0.0.1:1")
    # A key from anywhere counts before it.
    with Tollgate(person.key(), auth_url=person.stack.auth_url) as client:
        assert client.me().api_key_id


def test_a_file_that_others_can_open_or_that_holds_no_session_is_refused_without_repeating_it(tmp_path: Path, client_class: Any) -> None:
    file = tmp_path / "session"
    texts = ["", "canary", "{}", '{"session_id": 1, "access_token": "canary"}', '"canary"', "x" * (1 << 17)]
    texts.append('{"session_id": "s", "access_token": "a b"}')
    for text in texts:
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(tollgate.ConfigurationError, match="it holds no session: log in again") as refused:
            client_class(session=file)
        assert "canary" not in str(refused.value)
    for mode in (0o640, 0o604, 0o610):
        file.chmod(mode)
        with pytest.raises(tollgate.ConfigurationError, match="keep it at mode 600"):
            client_class(session=file)
    file.unlink()
    os.mkfifo(file, 0o600)
    for wrong in (file, tmp_path):
        with pytest.raises(tollgate.ConfigurationError, match="it is no file"):
            client_class(session=wrong)
