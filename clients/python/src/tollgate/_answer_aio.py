"""A model's answer, as it is generated, for an event loop."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, Generator, List, Optional, Type

import grpc
import grpc.aio

from ._answer import Answered
from ._bases import TollgateError
from ._calls import Attempts, Progress
from ._clean import another, clean
from ._core import closed_meanwhile
from ._status import error_of
from ._types import Piece, Receipt, ToolCall

if TYPE_CHECKING:
    from typing_extensions import Self

    from .aio import AsyncTollgate


class AsyncAnswer(Answered):
    """`await` waits for all of it; `async for` gives its text, piece by piece. Leaving the loop cancels the call, and so do `close()`, a
    cancelled task and the end of an `async with`. It is sent when it is first waited for."""

    def __init__(self, client: AsyncTollgate, method: str, request: Any, seconds: Optional[float]) -> None:
        self._client = client
        self._method = method
        self._request = request
        self._seconds = seconds
        self._progress = Progress(request.request_id)
        self._attempts: Optional[Attempts] = None
        self._call: Any = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._generation = 0
        self._left = False
        self._failed = None

    def __await__(self) -> Generator[Any, None, Self]:
        return self.complete().__await__()

    def __aiter__(self) -> AsyncIterator[str]:
        return Texts(self)

    def pieces(self) -> AsyncIterator[Piece]:
        """Its pieces with all that is in them: text, thinking, tool calls, log probabilities."""
        return Pieces(self)

    async def complete(self) -> Self:
        """Waits for its end. An answer that has failed fails again."""
        async for _ in self.pieces():
            pass
        return self

    @property
    def text(self) -> str:
        """All of its text, once it is at its end: `await` it first. `so_far` has what has come until now."""
        self._whole()
        return self.so_far

    @property
    def thinking(self) -> str:
        """What the model thought, when it shows it, once it is at its end."""
        return self._whole().thinking

    @property
    def tool_calls(self) -> List[ToolCall]:
        """The calls that the model asks for, once it is at its end."""
        return self._whole().tool_calls

    @property
    def message(self) -> Dict[str, Any]:
        """The answer as a turn of the conversation, to be sent with the next one, once it is at its end."""
        return self._message()

    @property
    def receipt(self) -> Receipt:
        """What it cost and used, once it is at its end."""
        return self._receipt()

    @property
    def replayed(self) -> bool:
        """Whether the request had been resolved before: then there is no text, and nothing was charged now."""
        return self._receipt().replayed

    def close(self) -> None:
        """Cancels the call, if it isn't at its end: what was generated until then is charged."""
        if self._progress.finished is None and not self._failed:
            self._left = True
        call, self._call = self._call, None
        if call is None or not self._left or self._loop is None or self._loop.is_closed():
            return
        try:
            here: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            call.cancel()
        else:
            # Out of a destructor that another thread runs.
            self._loop.call_soon_threadsafe(call.cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    async def _read(self) -> None:
        """Waits for one more piece, or for the end. An answer that has failed fails again."""
        problem: BaseException
        known = len(self._progress.pieces)
        try:
            while not self._left and not self._failed and self._progress.finished is None and len(self._progress.pieces) == known:
                await self._step()
            if self._failed and len(self._progress.pieces) == known:
                raise another(self._failed)
            return
        except (TollgateError, asyncio.CancelledError, KeyboardInterrupt) as error:
            problem = clean(error)
        except BaseException:
            self.close()
            raise
        self.close()
        raise problem

    async def _step(self) -> None:
        """One event; or one more attempt, where that is safe."""
        if self._attempts is None:
            deadline = None if self._seconds is None else time.monotonic() + self._seconds
            self._attempts = Attempts(self._client._max_retries, deadline)
        event, error = await self._next_event(self._attempts)
        if event is not None:
            self._progress.take(event)
            lost = self._progress.lost(self._attempts)
            if lost:
                raise self._fail(lost)
            return
        if self._left:
            return
        error = error or self._progress.ended_early()
        if self._progress.pieces:
            raise self._fail(error)
        self._call = None
        session = self._client._session
        if session and self._attempts.should_refresh(error, True) and await session.renewed(self._generation):
            return
        pause = self._attempts.pause_before_next(error)
        if pause is None:
            raise self._fail(error)
        await asyncio.sleep(pause)

    def _fail(self, error: TollgateError) -> TollgateError:
        self._failed = error
        return error

    async def _next_event(self, attempts: Attempts) -> tuple[Any, Optional[TollgateError]]:
        client = self._client
        endpoint = client._endpoints.inference
        try:
            call = self._call
            if call is None:
                client._check_usable()
                token, self._generation = await client._token()
                self._loop = asyncio.get_running_loop()
                method = client._stubs().method("inference", self._method)
                call = self._call = method(self._request, timeout=attempts.timeout(), metadata=client._metadata(token))
                client._running.add(call)
            event = await call.read()
            return (None if event is grpc.aio.EOF else event), None
        except grpc.RpcError as failure:
            if client._closed:
                return None, closed_meanwhile(self.request_id)
            return None, error_of(failure, endpoint.service, endpoint.url, self.request_id)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            # gRPC says so also when the call was cancelled, or its channel closed, and not the task.
            if is_cancelled():
                raise
            if self._left:
                return None, None
            if client._closed:
                return None, closed_meanwhile(self.request_id)
            raise


def is_cancelled() -> bool:
    """Whether this task itself was cancelled. Python before 3.11 can't tell, and what gRPC says is taken for its own then."""
    task = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return bool(cancelling and cancelling())


class Pieces:
    """The pieces of an answer, from its beginning. Whoever drops them before the end cancels the call."""

    def __init__(self, answer: AsyncAnswer) -> None:
        self._answer = answer
        self._index = 0
        self._began = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        self._began = True
        come = self._answer._progress.pieces
        if self._index == len(come):
            await self._answer._read()
        if self._index == len(come):
            raise StopAsyncIteration
        self._index += 1
        return come[self._index - 1]

    def __del__(self) -> None:
        if self._began:
            self._answer.close()


class Texts(Pieces):
    """The texts of an answer."""

    async def __anext__(self) -> Any:
        while True:
            piece = await super().__anext__()
            if piece.text:
                return piece.text
