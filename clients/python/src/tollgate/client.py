"""The client for threads and plain programs."""

from __future__ import annotations

import threading
import time
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Type, TypeVar, Union

import grpc

from . import _accounts as accounts
from ._answer import Answer
from ._bases import ConfigurationError, TollgateError
from ._calls import Attempts, Call, lost
from ._clean import cleanly
from ._core import CLIENT, Core, Path_, Stubs, ask_code, ask_password, ask_user, closed_meanwhile, may_ask
from ._device import DeviceSignIn, Polling, Show, check_way
from ._device import show as show_sign_in
from ._kept import KeptSession
from ._organizations import Organizations
from ._reasons import ScopeRequired, SecondFactorRequired
from ._requests import Messages, chat_request, generate_request
from ._secret import Secret
from ._session import REPLY_WITHIN, Tokens, ended_by
from ._status import error_of
from ._types import ApiKey, Balance, Embeddings, LedgerEntry, Model, ModelDetails, NewKey, Receipt, ServiceAccount, Session, Usage, User

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._requests import ChatOptions, GenerateOptions

T = TypeVar("T")


class Tollgate(Core):
    """A client of Tollgate. Threads may share it; a process that was forked makes its own.

    ```python
    with Tollgate(key="tg_…") as tollgate:
        answer = tollgate.chat("llama3.2", "Why is the sky blue?")
        for piece in answer:
            print(piece, end="", flush=True)
        print(answer.receipt)
    ```

    Each value comes from the highest source that has it: these arguments, the environment (`TOLLGATE_API_KEY`, `TOLLGATE_SESSION`,
    `TOLLGATE_URL`, `TOLLGATE_AUTH_URL`, …), the profile of the config file (`~/.config/tollgate/config.yaml`), the default.

    key: an API key or an access token.
    url: where inference-service listens; `http://127.0.0.1:50052` by default.
    auth_url: where auth-service listens; `http://127.0.0.1:50051` by default.
    profile: which profile of the config file; else that of `TOLLGATE_PROFILE`, or the one called `default`.
    session: the file of a session, as the command `tollgate` keeps it.
    account: who pays: an organization's account id. The user's own account otherwise.
    model: the one that is meant where none is named.
    ca: a file of authorities to trust, in PEM, in place of the system's.
    client_certificate, client_key: files to show to servers that ask for one.
    timeout: the longest that a call with a single answer may take, in seconds.
    stream_timeout: the longest that a stream may take: the server ends it then, and charges what was generated. None: no limit.
    max_retries: how often a call is sent again when that is safe.
    """

    def __init__(
        self,
        key: Optional[str] = None,
        *,
        url: Optional[str] = None,
        auth_url: Optional[str] = None,
        profile: Optional[str] = None,
        session: Optional[Path_] = None,
        account: Optional[str] = None,
        model: Optional[str] = None,
        ca: Optional[Path_] = None,
        client_certificate: Optional[Path_] = None,
        client_key: Optional[Path_] = None,
        timeout: float = 30.0,
        stream_timeout: Optional[float] = None,
        max_retries: int = 2,
    ) -> None:
        given: Dict[str, Union[Path_, Secret, None]] = {
            "key": Secret(key) if key else None,
            "session": session,
            "url": url,
            "auth_url": auth_url,
            "account": account,
            "model": model,
            "ca": ca,
            "client_certificate": client_certificate,
            "client_key": client_key,
        }
        key = None
        self._start(given, profile, timeout, stream_timeout, max_retries, anonymous=False)

    def _start(
        self,
        given: Dict[str, Union[Path_, Secret, None]],
        profile: Optional[str],
        timeout: float,
        stream_timeout: Optional[float],
        max_retries: int,
        anonymous: bool,
    ) -> None:
        self._set_up(given, profile, timeout, stream_timeout, max_retries, anonymous)
        self._opening = threading.Lock()
        self._opened: Optional[Stubs] = None
        self._session: Optional[KeptSession] = None
        if self._tokens:
            self._sign_in(self._tokens)
        self.keys = Keys(self)
        self.sessions = Sessions(self)
        self.organizations = Organizations(self)

    @classmethod
    def login(
        cls,
        user: Optional[str] = None,
        password: Optional[str] = None,
        *,
        second_factor_code: Optional[str] = None,
        scopes: Iterable[str] = (),
        session: Optional[Path_] = None,
        show: Optional[Show] = None,
        url: Optional[str] = None,
        auth_url: Optional[str] = None,
        profile: Optional[str] = None,
        account: Optional[str] = None,
        model: Optional[str] = None,
        ca: Optional[Path_] = None,
        client_certificate: Optional[Path_] = None,
        client_key: Optional[Path_] = None,
        timeout: float = 30.0,
        stream_timeout: Optional[float] = None,
        max_retries: int = 2,
        client: str = CLIENT,
    ) -> Self:
        """Signs in. The session is in this object alone, refreshed by itself, and on disk only where `session` names a file.

        Without user and password somebody approves it in a browser, on whatever machine: an address and a code are shown, in a notebook as
        a link, and this waits until they were approved or denied, or ended. With a user it asks for the password that isn't given, in a
        terminal or a notebook, and for the code where there is a second factor.

        second_factor_code: six digits of an app, or a recovery code.
        scopes: what the session may be used for, as in `keys.create`; for sign-ins that are approved.
        session: a file that `Tollgate(session=…)` and the command go on from.
        show: is called with a `DeviceSignIn` in place of showing it.
        client: the session's name in lists, and what whoever approves is shown.
        """
        secret = Secret(password) if password else None
        proof = Secret(second_factor_code) if second_factor_code else None
        password = second_factor_code = None
        given: Dict[str, Union[Path_, Secret, None]] = {
            "url": url,
            "auth_url": auth_url,
            "account": account,
            "model": model,
            "ca": ca,
            "client_certificate": client_certificate,
            "client_key": client_key,
        }
        self = cls.__new__(cls)
        self._start(given, profile, timeout, stream_timeout, max_retries, anonymous=True)
        by_device = user is None and secret is None
        check_way(by_device, proof, scopes)
        file = cleanly(lambda: self._file_at(session))
        if by_device:
            tokens = cleanly(lambda: self._as_device(client, scopes, show or show_sign_in))
        else:
            tokens = cleanly(lambda: self._with_password(user, secret, proof, client))
        if file:
            cleanly(lambda: self._keep_in(file, tokens))
        self._sign_in(tokens)
        return self

    def chat(
        self,
        model: Optional[str],
        messages: Messages,
        *,
        stream: bool = True,
        timeout: Optional[float] = None,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """Asks a model. `messages` is a text, or a conversation: `[{"role": "user", "content": "Hi."}, …]`. Iterating the answer gives its
        text as it is generated; `answer.text` waits for all of it, and `answer.receipt` says what it cost. Leaving the loop, `close()` and
        Ctrl-C cancel the call: what was generated until then is charged. `stream=False` waits here.

        Options: system, max_tokens, require_full, temperature, top_p, min_p, top_k, typical_p, seed, stop, repeat_penalty, repeat_last_n,
        presence_penalty, frequency_penalty, num_ctx, format ("json" or a JSON schema), tools, think, top_logprobs, truncate, keep_alive,
        request_id.
        """
        seconds = self._stream_seconds(timeout)
        answer = Answer(self, "Chat", chat_request(model or self._settings.model, messages, options), seconds)
        # What an error shows of this call has no prompt.
        del messages, options
        return answer._begun(stream)

    def generate(
        self,
        model: Optional[str],
        prompt: str,
        *,
        stream: bool = True,
        timeout: Optional[float] = None,
        **options: Unpack[GenerateOptions],
    ) -> Answer:
        """Lets a model go on from a text, without a conversation. As `chat` otherwise, without tools, and with suffix, images and raw."""
        seconds = self._stream_seconds(timeout)
        answer = Answer(self, "Generate", generate_request(model or self._settings.model, prompt, options), seconds)
        del prompt, options
        return answer._begun(stream)

    def embed(
        self,
        model: Optional[str],
        inputs: Union[str, Sequence[str]],
        *,
        dimensions: Optional[int] = None,
        truncate: Optional[bool] = None,
        keep_alive: Union[float, timedelta, None] = None,
        num_ctx: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> Embeddings:
        """Turns texts into vectors: a sequence of them, with `.receipt`."""
        name = model or self._settings.model
        return self._run(lambda: accounts.embed(name, inputs, dimensions, truncate, keep_alive, num_ctx, request_id))

    def models(self) -> List[Model]:
        """The models there are and that the credential may name."""
        return self._run(accounts.list_models)

    def show(self, model: Optional[str] = None) -> ModelDetails:
        """A model's details, and what it can do."""
        return self._run(lambda: accounts.show_model(model or self._settings.model))

    def me(self) -> User:
        """Who the credential belongs to."""
        return self._run(accounts.me)

    def balance(self) -> Balance:
        """The account's credits."""
        return self._run(accounts.balance)

    def history(self, limit: Optional[int] = None, *, user_id: Optional[str] = None) -> Iterator[LedgerEntry]:
        """The account's ledger, newest first, read as it is iterated; or what one member or service account spent of it."""
        token, left = "", limit
        while left is None or left > 0:
            entries, token = self._run(lambda: accounts.ledger_page(left, token, user_id))
            yield from entries if left is None else entries[:left]
            left = None if left is None else left - len(entries)
            if not token:
                return

    def usage(
        self, first_day: Union[date, str, None] = None, last_day: Union[date, str, None] = None, *, user_id: Optional[str] = None
    ) -> Usage:
        """What the account's calls used, by day and model, in UTC: the last 30 days, or others, at most 92; or what one
        member's or service account's did."""
        return self._run(lambda: accounts.usage(first_day, last_day, user_id))

    def receipt(self, request_id: str) -> Receipt:
        """What became of one's own request, as long as it is remembered (an hour by default)."""
        return self._run(lambda: accounts.receipt(request_id))

    def refresh(self) -> None:
        """Renews the session now. It is done by itself ahead of time, once for all threads."""
        session = self._kept()
        cleanly(session.refresh)

    def logout(self, everywhere: bool = False) -> None:
        """Ends the session, or all of the user's. API keys stay in force."""
        session = self._kept()
        try:
            self._run(lambda: accounts.logout(everywhere))
        except ScopeRequired:
            if everywhere:
                raise
            # A token of few scopes ends its session by being shown.
            token, _ = session.token()
            self._run(lambda: accounts.revoke(token))
        cleanly(session.end)

    def close(self) -> None:
        """Closes the connections, and cancels what runs. The session goes on: `logout` ends it."""
        if not self._is_here():
            return
        with self._opening:
            self._closed = True
            stubs, self._opened = self._opened, None
        for each in stubs.channels if stubs else ():
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    def _with_password(self, user: Optional[str], password: Optional[Secret], code: Optional[Secret], client: str) -> Tokens:
        asks = password is None or may_ask()
        name = user or ask_user()
        secret = password or ask_password(name)
        try:
            return self._run(lambda: accounts.login(name, secret, code, client))
        except SecondFactorRequired as error:
            required = error
        proof = None if code or not asks else ask_code(name)
        if proof is None:
            raise required
        return self._run(lambda: accounts.login(name, secret, proof, client))

    def _as_device(self, client: str, scopes: Iterable[str], show: Show) -> Tokens:
        sign_in = self._run(lambda: accounts.begin_device_sign_in(client, scopes))
        say_end = show(sign_in)
        end = "The sign-in was left."
        try:
            tokens, name = self._approved(sign_in)
            end = f"Signed in as {name}."
            return tokens
        except TollgateError as error:
            end = f"Not signed in: {error}"
            raise
        finally:
            if say_end:
                say_end(end)

    def _approved(self, sign_in: DeviceSignIn) -> tuple[Tokens, str]:
        """Asks until somebody has approved."""
        polling = Polling(sign_in.interval, time.monotonic())
        while True:
            time.sleep(polling.pause())
            try:
                return self._run(lambda: accounts.exchange_device_code(sign_in.device_code))
            except TollgateError as error:
                ending = polling.outcome(error, time.monotonic())
            if ending:
                raise ending

    def _sign_in(self, tokens: Tokens) -> None:
        self._tokens = None
        self._session = KeptSession(tokens, self._session_file, self._send_refresh)

    def _kept(self) -> KeptSession:
        if self._session is None:
            raise ConfigurationError("this client isn't signed in: Tollgate.login()")
        return self._session

    def _stubs(self) -> Stubs:
        # Before the lock: in a forked process nobody may be there to give it back.
        self._check_usable()
        with self._opening:
            self._check_usable()
            if self._opened is None:
                self._opened = Stubs(self._endpoints, grpc)
            return self._opened

    def _token(self) -> tuple[Optional[Secret], int]:
        return self._session.token() if self._session else (self._key, 0)

    def _run(self, make: Callable[[], Call[T]]) -> T:
        """Makes a call and sends it. The message may hold a password, so no frame that an error shows has it."""
        return cleanly(lambda: self._call(make()))

    def _call(self, call: Call[T], timeout: Optional[float] = None) -> T:
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        attempts = Attempts(self._max_retries, deadline, call.repeatable)
        while True:
            self._check_usable()
            token, generation = (None, 0) if call.anonymous else self._token()
            answer, error = self._send(call, token, attempts)
            if error is None:
                gone = lost(answer, call.request_id, attempts)
                if gone:
                    raise gone
                return call.convert(answer)
            has_session = self._session is not None and not call.anonymous
            if attempts.should_refresh(error, has_session) and self._kept().renewed(generation):
                continue
            pause = attempts.pause_before_next(error)
            if pause is None:
                raise error
            time.sleep(pause)

    def _send(self, call: Call[Any], token: Optional[Secret], attempts: Attempts) -> tuple[Any, Optional[TollgateError]]:
        method = self._stubs().method(call.stub, call.method)
        endpoint = self._endpoint(call.stub)
        try:
            return method(call.message, timeout=attempts.timeout(), metadata=self._metadata(token, call.names_account())), None
        except (grpc.RpcError, ValueError) as failure:
            # gRPC's own word for a channel that is closed is a ValueError.
            if self._closed:
                return None, closed_meanwhile(call.request_id)
            if not isinstance(failure, grpc.RpcError):
                raise
            return None, error_of(failure, endpoint.service, endpoint.url, call.request_id)

    def _send_refresh(self, token: Secret) -> Tokens:
        # Not through `_call`: it would ask the session for a token.
        attempts = Attempts(0, time.monotonic() + min(self._timeout, REPLY_WITHIN))
        call = accounts.refresh(token)
        answer, error = self._send(call, None, attempts)
        if error is None:
            return call.convert(answer)
        raise ended_by(error)


class Keys:
    """API keys. They need a sign-in: a key can't make or change keys."""

    def __init__(self, client: Tollgate) -> None:
        self._client = client

    def create(
        self,
        name: str = "",
        *,
        scopes: Iterable[str] = (),
        models: Iterable[str] = (),
        networks: Iterable[str] = (),
        expires_at: Optional[datetime] = None,
        lifetime: Optional[timedelta] = None,
        request_id: Optional[str] = None,
        service_account: Union[ServiceAccount, str, None] = None,
    ) -> NewKey:
        """Makes a key: `.key` is the key itself, which can't be had again.

        scopes: chat, generate, embed, list_models, inference (those four), models, account. None: inference and account.
        models: patterns of the models that it may name, such as `llama3*`. None: all.
        networks: where it may be used from, such as `10.0.0.0/8`. None: everywhere.
        service_account: whose key it is, for owners of the organization that is the client's `account`. None: the caller's own.
        """
        return self._client._run(
            lambda: accounts.create_key(name, scopes, models, networks, expires_at, lifetime, request_id, service_account)
        )

    def list(self) -> List[ApiKey]:
        """The account's keys, revoked and expired ones included, oldest first."""
        return self._client._run(accounts.list_keys)

    def rotate(self, key_id: str, *, grace: Union[float, timedelta, None] = None, request_id: Optional[str] = None) -> NewKey:
        """Gives a key another secret. Those before are good for `grace` (seconds, or a timedelta), 24 hours by default."""
        return self._client._run(lambda: accounts.rotate_key(key_id, grace, request_id))

    def revoke(self, key_id: str, *, secret_number: Optional[int] = None) -> ApiKey:
        """Revokes a key, or one of its secrets alone, at once and everywhere."""
        return self._client._run(lambda: accounts.revoke_key(key_id, secret_number))


class Sessions:
    """The places where the user is signed in."""

    def __init__(self, client: Tollgate) -> None:
        self._client = client

    def list(self) -> List[Session]:
        """The one used last first."""
        return self._client._run(accounts.list_sessions)

    def revoke(self, session_id: str) -> None:
        """Signs the user out there."""
        self._client._run(lambda: accounts.revoke_session(session_id))
