"""A real Jupyter kernel: the sign-in asks there, answers stream, Ctrl-C (the stop button) ends an answer, and nothing secret is shown."""

from __future__ import annotations

import os
import time
from pathlib import Path
from queue import Empty
from typing import Any, Iterator, Optional

import pytest
from conftest import PASSWORD, SECONDS, Stack, until

jupyter_client = pytest.importorskip("jupyter_client")


class Notebook:
    """A kernel, and whoever sits before it."""

    def __init__(self, home: Path) -> None:
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
    asked = notebook.run(f"from tollgate import *\nt = Tollgate.login({at})", (person.name, PASSWORD))
    assert [(each["prompt"], each["password"]) for each in asked] == [("User name: ", False), (f"Password for {person.name}: ", True)]
    notebook.run("print(t.chat('stand-in', 'Hi.', max_tokens=3).text)")
    assert "word0 word1 word2" in notebook.last("stream")
    # Both in one kernel, which has an event loop of its own.
    cell = f"a = await AsyncTollgate.login({at})\nprint((await a.chat('stand-in', 'Hi.', max_tokens=3)).receipt)"
    asked = notebook.run(cell, (person.name, PASSWORD))
    assert [each["password"] for each in asked] == [False, True] and "1 credit charged" in notebook.last("stream")

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
    notebook.run(f"Tollgate.login({at})", (person.name, "canary-another pass phrase"))
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


def test_a_kernel_that_nobody_sits_before_says_what_to_give(stack: Stack, notebook: Notebook) -> None:
    notebook.run(f"from tollgate import Tollgate\nTollgate.login(url={stack.url!r}, auth_url={stack.auth_url!r})", stdin=False)
    assert "ConfigurationError" in notebook.last("error") and "nobody answered: give user and password" in notebook.last("error")
