"""A model's answer, as it is generated."""

from __future__ import annotations

import time
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Generator, Iterator, List, Optional, Type

import grpc

from ._bases import AnswerLeft, TollgateError
from ._calls import Attempts, Progress
from ._clean import another, cleanly
from ._core import closed_meanwhile
from ._status import error_of
from ._types import Piece, Receipt, ToolCall

if TYPE_CHECKING:
    from typing_extensions import Self

    from .client import Tollgate


class Answered:
    """What has come of an answer. `repr` doesn't show what the model said."""

    _progress: Progress
    _left: bool
    _failed: Optional[TollgateError]

    @property
    def request_id(self) -> str:
        """The request's id, one's own or one that was made: for `client.receipt`, and for repeating the call."""
        return self._progress.request_id

    @property
    def so_far(self) -> str:
        """The text that has come until now."""
        return self._progress.text

    @property
    def held(self) -> Optional[int]:
        """Credits that are held for the worst case; None before the answer begins, and for a replay."""
        started = self._progress.started
        return int(started.held_credits) if started is not None and started.HasField("held_credits") else None

    @property
    def finish_reason(self) -> str:
        """stop, length, tool_calls, or the model server's own word; empty before the end."""
        return self._progress.finish_reason()

    def _whole(self) -> Progress:
        """What came, once it is all."""
        if self._failed:
            raise another(self._failed)
        if self._progress.finished is None:
            error = AnswerLeft(f"the answer was left before its end: client.receipt({self.request_id!r}) says what it cost")
            error.request_id = self.request_id
            raise error
        return self._progress

    def _receipt(self) -> Receipt:
        return Receipt.of_end(self._whole().finished, self.request_id)

    def _message(self) -> Dict[str, Any]:
        progress = self._whole()
        message: Dict[str, Any] = {"role": "assistant", "content": self.so_far}
        if progress.thinking:
            message["thinking"] = progress.thinking
        if progress.tool_calls:
            message["tool_calls"] = progress.tool_calls
        return message

    def __repr__(self) -> str:
        state = "at its end" if self._progress.finished is not None else "left" if self._left else "on its way"
        return f"{type(self).__name__}(request_id={self.request_id!r}, {state})"


class Answer(Answered):
    """Iterating it gives the text, piece by piece. Leaving the loop cancels the call, and so do `close()` and the end of a `with`."""

    def __init__(self, client: Tollgate, method: str, request: Any, seconds: Optional[float]) -> None:
        self._client = client
        self._method = method
        self._request = request
        self._progress = Progress(request.request_id)
        self._attempts = Attempts(client._max_retries, None if seconds is None else time.monotonic() + seconds)
        self._call: Any = None
        self._generation = 0
        self._left = False
        self._failed = None

    def __iter__(self) -> Iterator[str]:
        pieces = self.pieces()
        try:
            for piece in pieces:
                if piece.text:
                    yield piece.text
        finally:
            pieces.close()

    def pieces(self) -> Generator[Piece, None, None]:
        """Its pieces with all that is in them: text, thinking, tool calls, log probabilities."""
        come = self._progress.pieces
        try:
            # From the beginning, also when some have been read before.
            for index in count():
                if index == len(come):
                    cleanly(self._read)
                if index == len(come):
                    return
                yield come[index]
        finally:
            self.close()

    def complete(self) -> Self:
        """Waits for its end. An answer that has failed fails again."""
        for _ in self.pieces():
            pass
        return self

    @property
    def text(self) -> str:
        """All of its text. Waits for its end; of an answer that was left, what had come."""
        return self.complete().so_far

    @property
    def thinking(self) -> str:
        """What the model thought, when it shows it. Waits for the end."""
        return self.complete()._progress.thinking

    @property
    def tool_calls(self) -> List[ToolCall]:
        """The calls that the model asks for. Waits for the end."""
        return self.complete()._progress.tool_calls

    @property
    def message(self) -> Dict[str, Any]:
        """The answer as a turn of the conversation, to be sent with the next one. Waits for the end."""
        return self.complete()._message()

    @property
    def receipt(self) -> Receipt:
        """What it cost and used. Waits for the end."""
        return self.complete()._receipt()

    @property
    def replayed(self) -> bool:
        """Whether the request had been resolved before: then there is no text, and nothing was charged now. Waits for the end."""
        return self.receipt.replayed

    def close(self) -> None:
        """Cancels the call, if it isn't at its end: what was generated until then is charged."""
        if self._progress.finished is None and not self._failed:
            self._left = True
        call, self._call = self._call, None
        if call is not None and self._left:
            call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    def _begun(self, stream: bool) -> Self:
        cleanly(self._begin)
        return self if stream else self.complete()

    def _begin(self) -> None:
        """Sends the request and waits until it is admitted, so that a refusal is raised where the call is made."""
        try:
            while self._progress.started is None and self._progress.finished is None:
                self._step()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        """Waits for one more piece, or for the end. An answer that has failed fails again."""
        known = len(self._progress.pieces)
        while not self._left and not self._failed and self._progress.finished is None and len(self._progress.pieces) == known:
            self._step()
        if self._failed and len(self._progress.pieces) == known:
            raise another(self._failed)

    def _step(self) -> None:
        """One event; or one more attempt, where that is safe."""
        event, error = self._next_event()
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
        if session and self._attempts.should_refresh(error, True) and session.renewed(self._generation):
            return
        pause = self._attempts.pause_before_next(error)
        if pause is None:
            raise self._fail(error)
        time.sleep(pause)

    def _fail(self, error: TollgateError) -> TollgateError:
        self._failed = error
        return error

    def _next_event(self) -> tuple[Any, Optional[TollgateError]]:
        client = self._client
        endpoint = client._endpoints.inference
        try:
            if self._call is None:
                client._check_usable()
                token, self._generation = client._token()
                method = client._stubs().method("inference", self._method)
                self._call = method(self._request, timeout=self._attempts.timeout(), metadata=client._metadata(token))
            return next(self._call, None), None
        except (grpc.RpcError, ValueError) as failure:
            if client._closed:
                return None, closed_meanwhile(self.request_id)
            if not isinstance(failure, grpc.RpcError):
                raise
            return None, error_of(failure, endpoint.service, endpoint.url, self.request_id)
