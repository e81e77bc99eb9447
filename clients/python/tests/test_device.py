"""The sign-in of a device by a script: when the service is asked, what is shown, and what ends it. With real services: test_approval.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import tollgate
from conftest import SECONDS, until
from google.protobuf.duration_pb2 import Duration
from scripted import Scripted, approved, balance, bare, begun, refuse
from tollgate import AsyncTollgate, DeviceSignIn, Tollgate
from tollgate._device import LONGEST_WAIT, SLOWER_BY, Polling
from tollgate.rpc.v1 import status_pb2

PENDING = refuse(grpc.StatusCode.FAILED_PRECONDITION, "AUTHORIZATION_PENDING")
SLOW_DOWN = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_DOWN")


def slow_down() -> Any:
    return tollgate.SlowDown("slower")


def pending(retry_after: Any = None) -> Any:
    error = tollgate.AuthorizationPending("wait")
    error.reason, error.retry_after = "AUTHORIZATION_PENDING", retry_after
    return error


def test_slow_down_makes_every_pause_after_it_five_seconds_longer_and_retry_info_counts_too() -> None:
    polling = Polling(5.0, now=0)
    slower = slow_down()
    slower.reason = "SLOW_DOWN"
    assert polling.pause() == 5.0 and polling.outcome(pending(), 1) is None and polling.pause() == 5.0
    assert polling.outcome(slower, 2) is None and polling.pause() == 5.0 + SLOWER_BY
    assert polling.outcome(slower, 3) is None and polling.pause() == 5.0 + 2 * SLOWER_BY
    assert polling.outcome(pending(40.0), 4) is None and polling.pause() == 40.0
    # What a service asks for without measure is not obeyed.
    assert polling.outcome(pending(1e9), 5) is None and polling.pause() == 60.0


def test_a_service_that_is_away_is_asked_less_and_less_often_and_never_for_ever() -> None:
    polling = Polling(5.0, now=0)
    away = tollgate.Unreachable("away")
    pauses = [polling.pause() for _ in range(6) if polling.outcome(away, 1) is None]
    assert pauses == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    assert polling.outcome(pending(), 2) is None and polling.pause() == 5.0
    assert polling.outcome(away, LONGEST_WAIT) is away
    assert polling.outcome(pending(), LONGEST_WAIT) is not None


def test_a_client_asks_no_sooner_than_the_interval_allows_and_is_signed_in_once_it_was_approved(client_class: Any) -> None:
    pause = status_pb2.RetryInfo(retry_delay=Duration(nanos=300_000_000))
    longer = refuse(grpc.StatusCode.FAILED_PRECONDITION, "AUTHORIZATION_PENDING", details={"google.rpc.RetryInfo": pause})
    lost = bare(grpc.StatusCode.UNAVAILABLE, "the connection broke")
    with Scripted(begun(0.1), PENDING, PENDING, lost, longer, approved(), balance(7)) as server:
        shown: list[DeviceSignIn] = []
        ends: list[str] = []

        def show(sign_in: DeviceSignIn) -> Any:
            shown.append(sign_in)
            return ends.append

        with client_class.login(show=show, scopes=["inference"], client="a notebook", **server.at) as client:
            assert client.balance().available == 7 and "signed in" in repr(client)
        assert server.requests[0].client == "a notebook" and list(server.requests[0].scopes) == ["inference"]
        between = [after - before for before, after in zip(server.times, server.times[1:])]
        # Begun, and five questions; then the balance.
        assert len(between) == 6 and all(each >= 0.09 for each in between[:4]) and between[4] >= 0.29 and between[3] >= 0.19, between
        [sign_in] = shown
        assert (sign_in.code, sign_in.address, ends) == ("BCDF-GHJK", "http://gate.example/device", ["Signed in as ada."])
        assert "canary" not in repr(sign_in) + str(sign_in) + sign_in.as_html()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "DEVICE_SIGN_IN_DENIED", "DeviceSignInDenied"),
        (grpc.StatusCode.NOT_FOUND, "DEVICE_CODE_EXPIRED", "DeviceCodeExpired"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "RateLimited"),
        (grpc.StatusCode.PERMISSION_DENIED, "USER_DISABLED", "UserDisabled"),
    ],
)
def test_what_ends_the_sign_in_is_an_error_of_its_own_and_is_asked_no_further(client_class: Any, code: Any, reason: str, kind: str) -> None:
    with Scripted(begun(), PENDING, refuse(code, reason)) as server:
        ends: list[str] = []
        with pytest.raises(getattr(tollgate, kind)) as found:
            client_class.login(show=lambda _: ends.append, **server.at)
        assert len(server.requests) == 3 and len(ends) == 1 and ends[0].startswith("Not signed in: ")
        assert "canary" not in repr(found.value) and found.value.__context__ is None


def test_what_a_way_of_signing_in_has_no_place_for_is_refused_before_anything_is_sent(client_class: Any, tmp_path: Path) -> None:
    with Scripted() as server:
        scopes_with_password = {"user": "ada", "password": "p", "scopes": ["chat"]}
        for wrong in ({"second_factor_code": "123456"}, scopes_with_password, {"session": tmp_path / "no" / "s"}):
            with pytest.raises(tollgate.ConfigurationError):
                client_class.login(**wrong, **server.at)
        assert server.requests == []


PROGRAM = """
import asyncio, sys
from tollgate import AsyncTollgate, Tollgate
where = dict(auth_url=sys.argv[1], url=sys.argv[1])
client = Tollgate.login(**where) if sys.argv[2] == "threads" else asyncio.run(AsyncTollgate.login(**where))
"""


@pytest.mark.parametrize("way", ["threads", "asyncio"])
def test_a_program_prints_address_and_code_and_ctrl_c_ends_the_wait(way: str, home: Path) -> None:
    with Scripted(begun(), *[PENDING] * 1000) as server:
        command = [sys.executable, "-c", PROGRAM, server.at["url"], way]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            until("it has asked", lambda: len(server.requests) > 2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        asked = len(server.requests)
    assert process.returncode != 0 and "KeyboardInterrupt" in err and out == ""
    assert "open http://gate.example/device and enter the code BCDF-GHJK" in err and "The sign-in was left." in err
    assert "canary" not in err and asked < 900 and [path for path in home.rglob("*") if path.is_file()] == []


async def test_a_task_that_is_cancelled_asks_no_further() -> None:
    import asyncio

    with Scripted(begun(), *[PENDING] * 1000) as server:
        ends: list[str] = []
        task = asyncio.create_task(AsyncTollgate.login(show=lambda _: ends.append, **server.at))
        while len(server.requests) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ends == ["The sign-in was left."]


def test_other_threads_go_on_while_one_waits_for_an_approval() -> None:
    with Scripted(begun(2), approved()) as server:
        counted: list[int] = []
        over = threading.Event()

        def count() -> None:
            while not over.wait(0.001):
                counted.append(1)

        thread = threading.Thread(target=count)
        thread.start()
        began = time.monotonic()
        Tollgate.login(show=lambda _: None, **server.at).close()
        over.set()
        thread.join()
        assert len(counted) > 50 and time.monotonic() - began >= 2


@pytest.mark.parametrize("address", ["javascript:alert(1)//", 'http://x/"><script>', "data:text/html,<b>", "http://x/\x1b]0;pwned\x07"])
def test_what_a_server_says_is_no_markup_no_script_and_commands_no_terminal(address: str) -> None:
    with Scripted(begun(address=address), approved("<script>\x1b[2J")) as server:
        shown: list[DeviceSignIn] = []
        ends: list[str] = []

        def show(sign_in: DeviceSignIn) -> Any:
            shown.append(sign_in)
            return ends.append

        Tollgate.login(show=show, **server.at).close()
    markup = shown[0].as_html()
    assert "<script" not in markup and ("<a " in markup) == address.startswith("http") and "\x1b" not in str(shown[0]) + ends[0]
    assert 'href="javascript' not in markup and 'href="data' not in markup


def test_a_session_is_kept_where_that_is_asked_for_and_a_client_goes_on_from_the_file(client_class: Any, tmp_path: Path) -> None:
    file = tmp_path / "session"
    with Scripted(begun(), approved(), balance(3), balance(4)) as server:
        with client_class.login(show=lambda _: None, session=file, **server.at) as client:
            assert client.balance().available == 3
        assert os.stat(file).st_mode & 0o777 == 0o600 and server.at["auth_url"] in file.read_text()
        with client_class(session=file, **server.at) as again:
            assert again.balance().available == 4


def test_a_session_in_the_home_folder_is_found_by_the_name_under_which_login_kept_it(
    client_class: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Scripted(begun(), approved(), balance(3)) as server:
        client_class.login(show=lambda _: None, session="~/tollgate.session", **server.at).close()
        assert (tmp_path / "tollgate.session").exists()
        with client_class(session="~/tollgate.session", **server.at) as again:
            assert again.balance().available == 3
