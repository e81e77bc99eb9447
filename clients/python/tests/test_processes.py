"""Forks: a client belongs to the process that made it."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest
import tollgate
from conftest import SECONDS, Stack
from tollgate import Tollgate


def ask(key: str, at: dict[str, str]) -> int:
    with Tollgate(key, **at) as client:  # type: ignore[arg-type]
        return client.balance().available


def test_a_forked_process_is_told_to_make_its_own_client_and_the_parents_goes_on(stack: Stack, client_class: Any) -> None:
    person = stack.person(5)
    with client_class.login(person.name, person.password, **person.at) as client:
        assert client.balance().available == 5
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            said = "it was answered"
            try:
                client.balance()
            except tollgate.ConfigurationError as error:
                said = str(error)
            finally:
                os.write(writer, said.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert b"made in another process" in pipe.read()
        os.waitpid(child, 0)
        client.refresh()
        assert client.balance().available == 5


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_spawned_make_their_own(stack: Stack, method: str) -> None:
    person = stack.person(5)
    assert ask(person.key(), dict(person.at)) == 5
    with multiprocessing.get_context(method).Pool(2) as pool:
        asked = [pool.apply_async(ask, (person.key(), dict(person.at))) for _ in range(2)]
        assert [each.get(SECONDS) for each in asked] == [5, 5]
