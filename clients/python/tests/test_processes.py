"""Forks: a client belongs to the process that made it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SECONDS, Stack
from tollgate import Tollgate


def ask(key: str, at: dict[str, str]) -> int:
    with Tollgate(key, **at) as client:  # type: ignore[arg-type]
        return client.balance().available


FORKED = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from blocking import Blocking
import tollgate

kind, name, password, url, auth_url = sys.argv[2:]
client_class = tollgate.Tollgate if kind == "Tollgate" else Blocking
with client_class.login(name, password, url=url, auth_url=auth_url) as client:
    assert client.balance().available == 5
    child = os.fork()
    if child == 0:
        try:
            client.balance()
        except tollgate.ConfigurationError as error:
            print(error, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    client.refresh()
    print("the parent goes on:", client.balance().available)
"""


def test_a_forked_process_is_told_to_make_its_own_client_and_the_parents_goes_on(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    arguments = [str(Path(__file__).parent), client_class.__name__, person.name, person.password, stack.url, stack.auth_url]
    command = [sys.executable, "-c", FORKED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert "made in another process" in done.stdout and done.stdout.endswith("the parent goes on: 5\n"), done.stdout + done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_spawned_make_their_own(stack: Stack, method: str) -> None:
    person = stack.person(5)
    assert ask(person.key(), dict(person.at)) == 5
    with multiprocessing.get_context(method).Pool(2) as pool:
        asked = [pool.apply_async(ask, (person.key(), dict(person.at))) for _ in range(2)]
        assert [each.get(SECONDS) for each in asked] == [5, 5]
