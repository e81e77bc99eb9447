"""A real Jupyter kernel: the sign-in asks there, answers stream, Ctrl-C (the stop button) ends an answer, and nothing secret is shown."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from queue import Empty
from typing import Any, Iterator, Optional

import pytest
from conftest import PASSWORD, SECONDS, Person, Stack, until

jupyter_client = pytest.importorskip("jupyter_client")


#: As it is shown where a device signs in.
USER_CODE = re.compile(r"code ([A-Z]{4}-[A-Z]{4})")


class Notebook:
    """A kernel, and whoever sits before it: they approve the sign-ins that it shows."""

    def __init__(self, home: Path, person: Optional[Person] = None) -> None:
        self.person = person
        environment = {**os.environ, "HOME": str(home), "IPYTHONDIR": str(home / ".ipython"), "JUPYTER_PLATFORM_DIRS": "0"}
        self.manager, self.client = jupyter_client.manager.start_new_kernel(kernel_name="python3", env=environment)
        self.shown: list[Any] = []

    def run(self, code: str, replies: tuple[str, ...] = (), stop_at: Optional[str] = None, stdin: bool = True) -> list[dict[str, Any]]:
        """Runs a cell. `replies` are typed where it asks; at `stop_at` the stop button is pressed. What was asked for."""
        message = self.client.execute(code, allow_stdin=stdin)
        asked: list[dict[str, Any]] = []
        waiting = list(replies)
        deadline = time.monotonic() + SECONDS
        output = ""
        while True:
            assert time.monotonic() < deadline, f"the cell doesn't end: {code}"
            try:
                request = self.client.get_stdin_msg(timeout=0)
                asked.append(request["content"])
                self.client.input(waiting.pop(0))
            except Empty:
                pass
            try:
                said = self.client.get_iopub_msg(timeout=0.05)
            except Empty:
                continue
            if said["parent_header"].get("msg_id") != message:
                continue
            self.shown.append(said)
            content = said["content"]
            output += content.get("text", "") if said["msg_type"] == "stream" else ""
            if said["msg_type"] == "display_data" and self.person:
                [code] = set(USER_CODE.findall(content["data"]["text/plain"]))
                self.person.approve(code)
            if stop_at and stop_at in output:
                stop_at = None
                self.manager.interrupt_kernel()
            if said["msg_type"] == "status" and content["execution_state"] == "idle":
                return asked

    def outputs(self) -> str:
        """All that the page got."""
        return repr(self.shown)

    def last(self, kind: str) -> str:
        found = [each["content"] for each in self.shown if each["msg_type"] == kind]
        assert found, self.outputs()
        return repr(found[-1])

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(home: Path) -> Iterator[Notebook]:
    made = Notebook(home)
    try:
        yield made
    finally:
        made.stop()


def test_a_notebook_asks_streams_stops_and_keeps_nothing(stack: Stack, notebook: Notebook, home: Path, tmp_path: Path) -> None:
    person = stack.person(5000)
    at = f"url={stack.url!r}, auth_url={stack.auth_url!r}"
    asked = notebook.run(f"from tollgate import *\nt = Tollgate.login({person.name!r}, {at})", (PASSWORD,))
    assert [(each["prompt"], each["password"]) for each in asked] == [(f"Password for {person.name}: ", True)]
    notebook.run("print(t.chat('stand-in', 'Hi.', max_tokens=3).text)")
    assert "word0 word1 word2" in notebook.last("stream")
    # Both in one kernel, which has an event loop of its own.
    cell = f"a = await AsyncTollgate.login({person.name!r}, {at})\nprint((await a.chat('stand-in', 'Hi.', max_tokens=3)).receipt)"
    asked = notebook.run(cell, (PASSWORD,))
    assert [each["password"] for each in asked] == [True] and "1 credit charged" in notebook.last("stream")

    for cell in (
        "for piece in t.chat('slow', 'Go on.', max_tokens=2000):\n    print(piece)",
        "async for piece in a.chat('slow', 'Go on.', max_tokens=2000):\n    print(piece)",
    ):
        before = len(person.charges())
        notebook.run(cell, stop_at="word2")
        assert "KeyboardInterrupt" in notebook.last("error") or "CancelledError" in notebook.last("error")
        until("it is charged", lambda: len(person.charges()) > before)
        person.settled()
        assert 4 <= person.charges()[0] < 500

    notebook.run("%xmode Verbose\nt.chat('nobody', 'canary-prompt').text")
    assert "ModelNotFound" in notebook.last("error")
    notebook.run(f"Tollgate.login({person.name!r}, {at})", ("canary-another pass phrase",))
    assert "LoginFailed" in notebook.last("error")
    notebook.run("t")
    assert "signed in" in notebook.last("execute_result")
    notebook.run("print(vars(t), vars(a), t._session, dir(t))\nt.__dict__")
    tokens = tmp_path / "tokens"
    notebook.run(
        "got = [x._session._state.tokens for x in (t, a)]\n"
        f"open({str(tokens)!r}, 'w').write('\\n'.join(y.expose() for x in got for y in (x.access, x.refresh)))\ndel got, _"
    )
    secrets = [PASSWORD, "canary-another", *tokens.read_text().splitlines()]
    assert len(secrets) == 6
    notebook.run("t.logout()\nawait a.logout()\nt.balance()")
    assert "SessionEnded" in notebook.last("error")
    assert all(secret not in notebook.outputs() for secret in secrets)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files, "IPython's own history"
    assert all(secret.encode() not in path.read_bytes() for path in files for secret in secrets)


def test_a_notebook_signs_in_by_a_link_without_a_key_and_keeps_neither_code_nor_token(
    stack: Stack, notebook: Notebook, home: Path, tmp_path: Path
) -> None:
    notebook.person = person = stack.person()
    at = f"url={stack.url!r}, auth_url={stack.auth_url!r}"
    tokens = tmp_path / "tokens"
    for variable, cell in (
        ("t", f"from tollgate import *\nt = Tollgate.login({at})"),
        ("a", f"a = await AsyncTollgate.login({at})"),
    ):
        asked = notebook.run(cell, stdin=False)
        assert asked == []
        [shown] = [each["content"]["data"] for each in notebook.shown if each["msg_type"] == "display_data"][-1:]
        [code] = USER_CODE.findall(shown["text/plain"])
        assert f'<a href="{stack.auth_url}/device?user_code={code}" target="_blank" rel="noopener noreferrer">' in shown["text/html"]
        # In place of the code: what a page of the notebook keeps is the last that was shown.
        assert notebook.last("update_display_data").count(f"Signed in as {person.name}.") == 2
        got = f"{variable}._session._state.tokens.access.expose()"
        notebook.run(f"with open({str(tokens)!r}, 'a') as f:\n    print({got}, file=f)")
    notebook.run("t.me().name, [(each.method, each.client) for each in t.sessions.list() if each.current], (await a.me()).name")
    assert notebook.last("execute_result").count(person.name) == 2 and "('device', 'tollgate-python" in notebook.last("execute_result")
    secrets = tokens.read_text().split()
    assert len(secrets) == 2 and all(secret not in notebook.outputs() for secret in secrets)
    assert all(secret.encode() not in path.read_bytes() for path in home.rglob("*") if path.is_file() for secret in secrets)
    assert [path for path in home.rglob("*") if path.is_file() and "tollgate" in str(path)] == []


def test_the_stop_button_ends_a_sign_in_that_nobody_approved(stack: Stack, notebook: Notebook) -> None:
    at = f"url={stack.url!r}, auth_url={stack.auth_url!r}"
    said = "def said(sign_in):\n    print(sign_in)\n    return print"
    for cell in (f"from tollgate import *\n{said}\nTollgate.login({at}, show=said)", f"await AsyncTollgate.login({at}, show=said)"):
        notebook.run(cell, stop_at="enter the code")
        assert "KeyboardInterrupt" in notebook.last("error") or "CancelledError" in notebook.last("error")
        assert "The sign-in was left." in notebook.outputs()


def test_a_kernel_that_nobody_sits_before_says_what_to_give(stack: Stack, notebook: Notebook) -> None:
    notebook.run(f"from tollgate import Tollgate\nTollgate.login('ada', url={stack.url!r}, auth_url={stack.auth_url!r})", stdin=False)
    assert "ConfigurationError" in notebook.last("error") and "nobody answered: give user and password" in notebook.last("error")
