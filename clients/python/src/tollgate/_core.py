"""What both clients are made of, and what they share."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional, Tuple, Union

from ._bases import AbortedError, ConfigurationError, TollgateError
from ._calls import ACCOUNT_HEADER, Bearer
from ._clean import cleanly
from ._secret import Secret
from ._session import Tokens
from ._session_file import SessionFile
from ._settings import Environment, SessionAt, Settings, resolve
from ._transport import VERSION, Endpoint, Endpoints, channel, plaintext_is_allowed
from .auth.v1 import accounts_pb2_grpc
from .inference.v1 import inference_pb2_grpc

Path_ = Union[str, "os.PathLike[str]"]
#: What a session that nobody named is listed as.
CLIENT = f"tollgate-python {VERSION}"


class Core:
    """A client's settings and its process. `repr` shows neither key nor token, and it is neither pickled nor copied."""

    _settings: Settings
    _endpoints: Endpoints
    _key: Optional[Secret] = None
    #: What a file had, until the session is made of it.
    _tokens: Optional[Tokens] = None
    _session_file: Optional[SessionFile] = None

    def _set_up(
        self,
        given: Dict[str, Union[Path_, Secret, None]],
        profile: Optional[str],
        timeout: float,
        stream_timeout: Optional[float],
        max_retries: int,
        anonymous: bool,
    ) -> None:
        """Takes the settings; connects nowhere."""
        self._settings = cleanly(lambda: resolve(given, Environment.of_process(), profile, anonymous))
        self._endpoints = cleanly(lambda: Endpoints.of(self._settings))
        self._endpoints.warn_of_plaintext(plaintext_is_allowed())
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._max_retries = max_retries
        self._process = os.getpid()
        self._closed = False
        self._key = self._settings.credential if isinstance(self._settings.credential, Secret) else None
        if isinstance(self._settings.credential, SessionAt):
            at = self._settings.credential
            self._tokens, self._session_file = cleanly(lambda: opened(at, self._endpoints.auth))

    def _file_at(self, path: Optional[Path_]) -> Optional[SessionFile]:
        """The file that a session is to be kept in; refused before anybody is asked to sign in."""
        if path is None:
            return None
        file = SessionFile(Path(path).expanduser())
        file.auth_url = self._endpoints.auth.url
        file.lock().close()
        return file

    def _keep_in(self, file: SessionFile, tokens: Tokens) -> None:
        with file.lock():
            file.save(tokens)
        self._session_file = file

    def _check_usable(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed")
        if not self._is_here():
            raise ConfigurationError(
                "this client was made in another process: after a fork its connections and its session can't be shared. Make one in each "
                "process, and start processes by spawn or forkserver"
            )

    def _is_here(self) -> bool:
        return os.getpid() == self._process

    def _endpoint(self, stub: str) -> Endpoint:
        return self._endpoints.auth if stub == "accounts" else self._endpoints.inference

    def _metadata(self, token: Optional[Secret], names_account: bool = True) -> Tuple[Tuple[str, str], ...]:
        metadata: List[Tuple[str, str]] = []
        if token is not None:
            metadata.append(("authorization", Bearer(f"Bearer {token.expose()}")))
            if self._settings.account and names_account:
                metadata.append((ACCOUNT_HEADER, self._settings.account))
        return tuple(metadata)

    def _stream_seconds(self, timeout: Optional[float]) -> Optional[float]:
        return self._stream_timeout if timeout is None else timeout

    def __repr__(self) -> str:
        if not hasattr(self, "_endpoints"):
            # Its settings were refused.
            return f"{type(self).__name__}()"
        who = "with a key" if self._key else "signed in" if self._signed_in() else "without a credential"
        return f"{type(self).__name__}(url={self._endpoints.inference.url!r}, auth_url={self._endpoints.auth.url!r}, {who})"

    def _signed_in(self) -> bool:
        session = getattr(self, "_session", None)
        return session is not None and not session.is_over()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} has connections and a credential: it can't be pickled or copied; make another one")


def closed_meanwhile(request_id: Optional[str]) -> TollgateError:
    """The error of a call that ran when its client was closed."""
    error = AbortedError("the client was closed meanwhile (CANCELLED)")
    error.code, error.message, error.request_id = "CANCELLED", "the client was closed meanwhile", request_id
    return error


class Stubs:
    """The generated stubs, over a connection to each service."""

    def __init__(self, endpoints: Endpoints, module: Any) -> None:
        self.channels = [channel(each, endpoints.credentials, module) for each in (endpoints.auth, endpoints.inference)]
        self.accounts: Any = accounts_pb2_grpc.AccountsStub(self.channels[0])
        self.inference: Any = inference_pb2_grpc.InferenceStub(self.channels[1])

    def method(self, stub: str, name: str) -> Any:
        return getattr(getattr(self, stub), name)


def opened(at: SessionAt, auth: Endpoint) -> Tuple[Tokens, SessionFile]:
    """The session of a file."""
    file = SessionFile(Path(at.path))
    tokens = file.load()
    if tokens is None:
        raise ConfigurationError(f"there is no session in {at.path}: `tollgate login` begins one")
    if at.kept and file.auth_url and file.auth_url.rstrip("/") != auth.url.rstrip("/"):
        raise ConfigurationError(f"the session in {at.path} was begun at {file.auth_url}, and goes to no other server: log in again")
    return tokens, file


def ask_user() -> str:
    """The user's name, from whoever sits there: in a notebook the kernel asks the browser."""
    return answered("User name: ", hidden=False)


def ask_password(user: str) -> Secret:
    return Secret(answered(f"Password for {user}: ", hidden=True))


def ask_code(user: str) -> Optional[Secret]:
    """None: nobody answered."""
    try:
        text = answered(f"Code of the second factor for {user}: ", hidden=True)
    except ConfigurationError:
        return None
    return Secret(text.strip()) if text.strip() else None


def may_ask() -> bool:
    """Whether somebody sits before a terminal or a notebook."""
    return in_kernel() or (sys.stdin is not None and sys.stdin.isatty())


def in_kernel() -> bool:
    """Kernels of notebooks put functions of their own in place of those that ask."""
    return getpass.getpass.__module__ != "getpass"


def answered(prompt: str, hidden: bool) -> str:
    try:
        if not hidden:
            return input(prompt).strip()
        if not in_kernel() and not sys.stdin.isatty():
            # From a pipe, as the command takes it.
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line.rstrip("\r\n")
        return getpass.getpass(prompt)
    except EOFError:
        pass
    except RuntimeError as error:
        # Of a kernel that nobody sits before.
        if type(error).__name__ != "StdinNotImplementedError":
            raise
    raise ConfigurationError("nobody answered: give user and password, or use an API key")
