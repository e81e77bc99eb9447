"""Real services for the tests: both programs, SQLite in a temporary folder, scripts/ollama_stand_in.py as the model server."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

import pytest

# Tests start processes: gRPC's own handlers of forks would end the child of a process that has calls on their way.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import machine  # noqa: E402
from stack import Service, free_ports  # noqa: E402

# What scripts/test-clients built.
PROGRAMS = Path(os.environ["CLIENTS_PROGRAMS"])
# Until what must come has come. Far longer than it takes.
SECONDS = 60
PASSWORD = "canary-a pass phrase of some length"
# A credit for the call, and one for each token that `slow` says: what was delivered is what is charged.
PRICES = "slow=1/0/1000"


def until(what: str, met: Callable[[], Any]) -> Any:
    """What `met` gives, once it gives something."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = met()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}, and it didn't come in {SECONDS} s"
        time.sleep(0.02)


def until_the_month_goes_on() -> None:
    """Waits, when a month (UTC) ends within half a minute, for the next one: what is spent in a month is counted anew from there on."""
    until("the next month", lambda: time.gmtime()[:2] == time.gmtime(time.time() + 30)[:2])


class Stack:
    """auth-service and inference-service, with variables of their own."""

    def __init__(self, folder: Path, upstream: str, certificates: Optional[Path] = None, **variables: str) -> None:
        auth_port, port = free_ports(2)
        scheme = "https" if certificates else "http"
        self.auth_url, self.url = f"{scheme}://127.0.0.1:{auth_port}", f"{scheme}://127.0.0.1:{port}"
        self.folder = folder
        shared = {"TOLLGATE_DATA_DIR": folder / "data", "TOLLGATE_AUTH_URL": self.auth_url, **variables}
        own: dict[str, dict[str, Any]] = {"auth-service": {}, "inference-service": {}}
        if certificates:
            shared["TOLLGATE_AUTH_CA"] = certificates / "public" / "ca.pem"
            for name, values in own.items():
                values["TOLLGATE_TLS_CERTIFICATE"] = certificates / name / "certificate.pem"
                values["TOLLGATE_TLS_KEY"] = certificates / name / "key.pem"
        auth = machine.clean_environment(
            **{name: value for name, value in shared.items() if name not in ("TOLLGATE_AUTH_URL", "TOLLGATE_AUTH_CA")},
            **own["auth-service"],
            TOLLGATE_AUTH_LISTEN=f"127.0.0.1:{auth_port}",
            TOLLGATE_PRICES=PRICES,
            TOLLGATE_SIGNUPS_PER_HOUR="1000000",
        )
        inference = machine.clean_environment(
            **{name: value for name, value in shared.items() if name in ("TOLLGATE_DATA_DIR", "TOLLGATE_AUTH_URL", "TOLLGATE_AUTH_CA")},
            **own["inference-service"],
            TOLLGATE_LISTEN=f"127.0.0.1:{port}",
            TOLLGATE_ENGINE="ollama",
            OLLAMA_HOST=upstream,
        )
        self.auth = Service(PROGRAMS / "auth-service", auth, folder / "auth-service.log")
        self.inference = Service(PROGRAMS / "inference-service", inference, folder / "inference-service.log")

    def start(self) -> None:
        for service in (self.auth, self.inference):
            service.start()
        for service in (self.auth, self.inference):
            service.wait_until_healthy()

    def stop(self) -> None:
        for service in (self.inference, self.auth):
            service.stop(20)

    def create_admin(self) -> None:
        command = [str(self.auth.program), "create-admin", "operator"]
        subprocess.run(command, env=self.auth.environment, input=PASSWORD + "\n", text=True, check=True, capture_output=True)

    def person(self, credits: int = 100) -> Person:
        return Person(self, credits)


class Person:
    """A new user with so many credits, made by the operator."""

    def __init__(self, stack: Stack, credits: int) -> None:
        self.stack = stack
        self.name = "u" + secrets.token_hex(8)
        self.credits = credits
        self.password = PASSWORD
        operators_stub(stack).create(self.name, PASSWORD, credits)

    @property
    def at(self) -> Mapping[str, str]:
        """Where the services are, for a client's constructor."""
        return {"url": self.stack.url, "auth_url": self.stack.auth_url}

    def client(self, **settings: Any) -> Any:
        """Signed in."""
        from tollgate import Tollgate

        return Tollgate.login(self.name, self.password, **{**self.at, **settings})

    @cached_property
    def here(self) -> Any:
        """A client that is signed in, for what the test itself looks at."""
        return self.client()

    def key(self, **limits: Any) -> str:
        return str(self.here.keys.create("test", **limits).key)

    def approve(self, code: str, deny: bool = False) -> None:
        """What somebody does in a browser for a device that shows this code."""
        from tollgate._calls import Call
        from tollgate.auth.v1 import sign_in_pb2

        message = sign_in_pb2.ApproveDeviceRequest(user_code=code, deny=deny)
        self.here._run(lambda: Call("accounts", "ApproveDevice", message, lambda _: None, repeatable=False))

    def settled(self) -> Any:
        """The balance, once nothing is held any more."""
        return until("what is held is settled", lambda: (balance := self.here.balance()).held == 0 and balance)

    def charges(self) -> list[int]:
        """Of each call that cost something, newest first."""
        return [abs(each.credits) for each in self.here.history() if each.kind.startswith("settle")]


class Operator:
    """The generated stubs, as an operator calls them."""

    def __init__(self, stack: Stack) -> None:
        import grpc
        from tollgate.auth.v1 import accounts_pb2, accounts_pb2_grpc, admin_pb2, admin_pb2_grpc

        self.pb = admin_pb2
        channel = grpc.insecure_channel(stack.auth_url.removeprefix("http://"))
        self.accounts = accounts_pb2_grpc.AccountsStub(channel)
        self.login = accounts_pb2.LoginRequest(user_name="operator", password=PASSWORD)
        self.stub = admin_pb2_grpc.AdminStub(channel)
        self.until = 0.0

    @property
    def metadata(self) -> Any:
        if time.time() > self.until:
            made = self.accounts.Login(self.login)
            # Half of its life: some stacks' tokens live for two seconds.
            self.until = time.time() + (made.expires_at.seconds - time.time()) / 2
            self.token = made.access_token
        return (("authorization", f"Bearer {self.token}"),)

    def create(self, name: str, password: str, credits: int) -> None:
        request = self.pb.CreateUserRequest(user_name=name, password=password, starting_credits=credits)
        self.stub.CreateUser(request, metadata=self.metadata)

    def grant(self, account: str, credits: int) -> None:
        request = self.pb.GrantCreditsRequest(account_id=account, credits=credits, request_id=secrets.token_hex(8))
        self.stub.GrantCredits(request, metadata=self.metadata)

    def disable(self, user: str) -> None:
        self.stub.DisableUser(self.pb.DisableUserRequest(user_name=user, reason="a test"), metadata=self.metadata)


_operators: dict[Stack, Operator] = {}


def operators_stub(stack: Stack) -> Operator:
    if stack not in _operators:
        _operators[stack] = Operator(stack)
    return _operators[stack]


@contextmanager
def started(folder: Path, upstream: str, **variables: Any) -> Iterator[Stack]:
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder, upstream, **variables)
    try:
        stack.start()
        stack.create_admin()
        yield stack
    finally:
        stack.stop()
        _operators.pop(stack, None)


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    """The model server: `stand-in` says ten words, `slow` a word every 20 ms, `breaks` fails in mid-stream."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    program = [sys.executable, "-B", str(ROOT / "scripts" / "ollama_stand_in.py"), "serve"]
    process = subprocess.Popen(program, env={**os.environ, "OLLAMA_HOST": address, "TOKEN_MS": "1"}, stdin=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        try:
            return bool(json.load(opener.open(f"http://{address}/api/version", timeout=3)))
        except OSError:
            return False

    try:
        until("the model server listens", answers)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def stack(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As services are set by default."""
    with started(tmp_path_factory.mktemp("stack"), upstream) as running:
        yield running


@pytest.fixture(scope="session")
def brief(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its access tokens are good for two seconds."""
    variables = {"TOLLGATE_ACCESS_TOKEN_TTL": "2s", "TOLLGATE_CLOCK_LEEWAY": "0s"}
    with started(tmp_path_factory.mktemp("brief"), upstream, **variables) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def building(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Optional[Future[Any]]]:
    """The package as it is built while other tests run: it waits for the network for most of its time."""
    if not any(each.path.name == "test_package.py" for each in request.session.items):
        yield None
        return
    from packaged import Built

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(Built, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def built(building: Future[Any]) -> Any:
    """The package, once it is built and installed."""
    return building.result(600)


@pytest.fixture(params=["threads", "asyncio"])
def client_class(request: pytest.FixtureRequest) -> Any:
    """`Tollgate`, and `AsyncTollgate` with its manners."""
    from blocking import Blocking
    from tollgate import Tollgate

    return Tollgate if request.param == "threads" else Blocking


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without files and without variables of ours."""
    for name in [name for name in os.environ if name.startswith(("TOLLGATE_", "XDG_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home
