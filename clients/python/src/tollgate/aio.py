"""The client for an event loop."""

from __future__ import annotations

import asyncio
import time
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Callable, Dict, Iterable, List, Optional, Sequence, Type, TypeVar, Union
from weakref import WeakSet

import grpc
import grpc.aio

from . import _accounts as accounts
from ._answer_aio import AsyncAnswer, is_cancelled
from ._bases import ConfigurationError, TollgateError
from ._calls import Attempts, Call, lost
from ._clean import clean, cleanly
from ._core import CLIENT, Core, Path_, Stubs, ask_code, ask_password, ask_user, closed_meanwhile, may_ask
from ._device import DeviceSignIn, Polling, Show, check_way
from ._device import show as show_sign_in
from ._kept_aio import AsyncKeptSession
from ._organizations_aio import AsyncOrganizations
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


async def acleanly(call: Callable[[], Awaitable[T]]) -> T:
    """What a call gives, or its error without the frames below: see `_clean`."""
    problem: BaseException
    try:
        return await call()
    except (TollgateError, KeyboardInterrupt, asyncio.CancelledError) as error:
        problem = clean(error)
    raise problem


class AsyncTollgate(Core):
    """A client of Tollgate for an event loop: that in which it is first used. Settings and methods are those of `Tollgate`.

    ```python
    async with AsyncTollgate(key="tg_…") as tollgate:
        answer = tollgate.chat("llama3.2", "Why is the sky blue?")
        async for piece in answer:
            print(piece, end="", flush=True)
        print(answer.receipt)
        whole = await tollgate.chat("llama3.2", "And at night?")
        print(whole.text)
    ```
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
        self._opened: Optional[Stubs] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._session: Optional[AsyncKeptSession] = None
        # What runs, to be cancelled by `close`: gRPC finds not all of it by itself.
        self._running: WeakSet[Any] = WeakSet()
        if self._tokens:
            self._sign_in(self._tokens)
        self.keys = AsyncKeys(self)
        self.sessions = AsyncSessions(self)
        self.organizations = AsyncOrganizations(self)

    @classmethod
    async def login(
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
        terminal or a notebook; the event loop stands still meanwhile, and for the code where there is a second factor.

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
            tokens = await acleanly(lambda: self._as_device(client, scopes, show or show_sign_in))
        else:
            tokens = await acleanly(lambda: self._with_password(user, secret, proof, client))
        if file:
            await acleanly(lambda: asyncio.to_thread(self._keep_in, file, tokens))
        self._sign_in(tokens)
        return self

    def chat(
        self,
        model: Optional[str],
        messages: Messages,
        *,
        timeout: Optional[float] = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncAnswer:
        """Asks a model: `await` the answer for all of it, or iterate it with `async for`. Messages and options are those of
        `Tollgate.chat`."""
        request = chat_request(model or self._settings.model, messages, options)
        return AsyncAnswer(self, "Chat", request, self._stream_seconds(timeout))

    def generate(
        self,
        model: Optional[str],
        prompt: str,
        *,
        timeout: Optional[float] = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncAnswer:
        """Lets a model go on from a text, without a conversation. As `chat` otherwise, without tools, and with suffix, images and raw."""
        request = generate_request(model or self._settings.model, prompt, options)
        return AsyncAnswer(self, "Generate", request, self._stream_seconds(timeout))

    async def embed(
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
        return await self._run(lambda: accounts.embed(name, inputs, dimensions, truncate, keep_alive, num_ctx, request_id))

    async def models(self) -> List[Model]:
        """The models there are and that the credential may name."""
        return await self._run(accounts.list_models)

    async def show(self, model: Optional[str] = None) -> ModelDetails:
        """A model's details, and what it can do."""
        return await self._run(lambda: accounts.show_model(model or self._settings.model))

    async def me(self) -> User:
        """Who the credential belongs to."""
        return await self._run(accounts.me)

    async def balance(self) -> Balance:
        """The account's credits."""
        return await self._run(accounts.balance)

    async def history(self, limit: Optional[int] = None, *, user_id: Optional[str] = None) -> AsyncIterator[LedgerEntry]:
        """The account's ledger, newest first, read as it is iterated; or what one member or service account spent of it."""
        token, left = "", limit
        while left is None or left > 0:
            entries, token = await self._run(lambda: accounts.ledger_page(left, token, user_id))
            for entry in entries if left is None else entries[:left]:
                yield entry
            left = None if left is None else left - len(entries)
            if not token:
                return

    async def usage(
        self, first_day: Union[date, str, None] = None, last_day: Union[date, str, None] = None, *, user_id: Optional[str] = None
    ) -> Usage:
        """What the account's calls used, by day and model, in UTC: the last 30 days, or others, at most 92; or what one
        member's or service account's did."""
        return await self._run(lambda: accounts.usage(first_day, last_day, user_id))

    async def receipt(self, request_id: str) -> Receipt:
        """What became of one's own request, as long as it is remembered (an hour by default)."""
        return await self._run(lambda: accounts.receipt(request_id))

    async def refresh(self) -> None:
        """Renews the session now. It is done by itself ahead of time, once for all tasks."""
        await acleanly(self._kept().refresh)

    async def logout(self, everywhere: bool = False) -> None:
        """Ends the session, or all of the user's. API keys stay in force."""
        session = self._kept()
        try:
            await self._run(lambda: accounts.logout(everywhere))
        except ScopeRequired:
            if everywhere:
                raise
            # A token of few scopes ends its session by being shown.
            token, _ = await session.token()
            await self._run(lambda: accounts.revoke(token))
        await acleanly(session.end)

    async def close(self) -> None:
        """Closes the connections, and cancels what runs. The session goes on: `logout` ends it."""
        self._closed = True
        stubs, self._opened = self._opened, None
        if not self._is_here():
            return
        for call in list(self._running):
            call.cancel()
        for each in stubs.channels if stubs else ():
            await each.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def _with_password(self, user: Optional[str], password: Optional[Secret], code: Optional[Secret], client: str) -> Tokens:
        asks = password is None or may_ask()
        name = user or ask_user()
        secret = password or ask_password(name)
        try:
            return await self._run(lambda: accounts.login(name, secret, code, client))
        except SecondFactorRequired as error:
            required = error
        proof = None if code or not asks else ask_code(name)
        if proof is None:
            raise required
        return await self._run(lambda: accounts.login(name, secret, proof, client))

    async def _as_device(self, client: str, scopes: Iterable[str], show: Show) -> Tokens:
        sign_in = await self._run(lambda: accounts.begin_device_sign_in(client, scopes))
        say_end = show(sign_in)
        end = "The sign-in was left."
        try:
            tokens, name = await self._approved(sign_in)
            end = f"Signed in as {name}."
            return tokens
        except TollgateError as error:
            end = f"Not signed in: {error}"
            raise
        finally:
            if say_end:
                say_end(end)

    async def _approved(self, sign_in: DeviceSignIn) -> tuple[Tokens, str]:
        """Asks until somebody has approved."""
        polling = Polling(sign_in.interval, time.monotonic())
        while True:
            await asyncio.sleep(polling.pause())
            try:
                return await self._run(lambda: accounts.exchange_device_code(sign_in.device_code))
            except TollgateError as error:
                ending = polling.outcome(error, time.monotonic())
            if ending:
                raise ending

    def _sign_in(self, tokens: Tokens) -> None:
        self._tokens = None
        self._session = AsyncKeptSession(tokens, self._session_file, self._send_refresh)

    def _kept(self) -> AsyncKeptSession:
        if self._session is None:
            raise ConfigurationError("this client isn't signed in: AsyncTollgate.login()")
        return self._session

    def _stubs(self) -> Stubs:
        self._check_usable()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise ConfigurationError("this client belongs to another event loop: make one in each")
            # What asyncio.run() left behind can't be used any more.
            self._loop, self._opened = loop, None
        if self._opened is None:
            self._opened = Stubs(self._endpoints, grpc.aio)
        return self._opened

    async def _token(self) -> tuple[Optional[Secret], int]:
        return await self._session.token() if self._session else (self._key, 0)

    async def _run(self, make: Callable[[], Call[T]]) -> T:
        """Makes a call and sends it. The message may hold a password, so no frame that an error shows has it."""
        return await acleanly(lambda: self._call(make()))

    async def _call(self, call: Call[T]) -> T:
        attempts = Attempts(self._max_retries, time.monotonic() + self._timeout, call.repeatable)
        while True:
            self._check_usable()
            token, generation = (None, 0) if call.anonymous else await self._token()
            answer, error = await self._send(call, token, attempts)
            if error is None:
                gone = lost(answer, call.request_id, attempts)
                if gone:
                    raise gone
                return call.convert(answer)
            has_session = self._session is not None and not call.anonymous
            if attempts.should_refresh(error, has_session) and await self._kept().renewed(generation):
                continue
            pause = attempts.pause_before_next(error)
            if pause is None:
                raise error
            await asyncio.sleep(pause)

    async def _send(self, call: Call[Any], token: Optional[Secret], attempts: Attempts) -> tuple[Any, Optional[TollgateError]]:
        method = self._stubs().method(call.stub, call.method)
        endpoint = self._endpoint(call.stub)
        try:
            running = method(call.message, timeout=attempts.timeout(), metadata=self._metadata(token, call.names_account()))
            self._running.add(running)
            return await running, None
        except grpc.RpcError as failure:
            if self._closed:
                return None, closed_meanwhile(call.request_id)
            return None, error_of(failure, endpoint.service, endpoint.url, call.request_id)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            # gRPC cancels what runs on a channel that is closed, as if the task had been cancelled.
            if self._closed and not is_cancelled():
                return None, closed_meanwhile(call.request_id)
            raise

    async def _send_refresh(self, token: Secret) -> Tokens:
        # Not through `_call`: it would ask the session for a token.
        attempts = Attempts(0, time.monotonic() + min(self._timeout, REPLY_WITHIN))
        call = accounts.refresh(token)
        answer, error = await self._send(call, None, attempts)
        if error is None:
            return call.convert(answer)
        raise ended_by(error)


class AsyncKeys:
    """API keys. They need a sign-in: a key can't make or change keys."""

    def __init__(self, client: AsyncTollgate) -> None:
        self._client = client

    async def create(
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
        """Makes a key, as `Keys.create` does."""
        return await self._client._run(
            lambda: accounts.create_key(name, scopes, models, networks, expires_at, lifetime, request_id, service_account)
        )

    async def list(self) -> List[ApiKey]:
        """The account's keys, revoked and expired ones included, oldest first."""
        return await self._client._run(accounts.list_keys)

    async def rotate(self, key_id: str, *, grace: Union[float, timedelta, None] = None, request_id: Optional[str] = None) -> NewKey:
        """Gives a key another secret. Those before are good for `grace` (seconds, or a timedelta), 24 hours by default."""
        return await self._client._run(lambda: accounts.rotate_key(key_id, grace, request_id))

    async def revoke(self, key_id: str, *, secret_number: Optional[int] = None) -> ApiKey:
        """Revokes a key, or one of its secrets alone, at once and everywhere."""
        return await self._client._run(lambda: accounts.revoke_key(key_id, secret_number))


class AsyncSessions:
    """The places where the user is signed in."""

    def __init__(self, client: AsyncTollgate) -> None:
        self._client = client

    async def list(self) -> List[Session]:
        """The one used last first."""
        return await self._client._run(accounts.list_sessions)

    async def revoke(self, session_id: str) -> None:
        """Signs the user out there."""
        await self._client._run(lambda: accounts.revoke_session(session_id))
