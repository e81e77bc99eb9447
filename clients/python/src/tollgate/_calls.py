"""Calls as both clients make them: what is sent where, what it answers, and when it is sent again."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Generic, List, Optional, TypeVar

from ._bases import Interrupted, Refused, TollgateError, UnavailableError, Unreachable
from ._clean import clean
from ._session import refuses_the_token
from ._types import Piece, Receipt, ToolCall
from .inference.v1 import inference_pb2 as inference

T = TypeVar("T")
LOG = logging.getLogger("tollgate")

#: The header that names the account that pays.
ACCOUNT_HEADER = "x-tollgate-account"
#: What auth-service answers by account. Sessions, organizations and the user are the same whoever pays.
OF_AN_ACCOUNT = frozenset(
    [
        "GetMe",
        "GetBalance",
        "GetReceipt",
        "ListLedgerEntries",
        "GetUsage",
        "ListApiKeys",
        "CreateApiKey",
        "RotateApiKey",
        "RevokeApiKey",
    ]
)
#: A service that asks for a longer pause is not waited for: the caller is told.
LONGEST_PAUSE = 30.0
#: About three years.
MOST_SECONDS = 1e8
FIRST_PAUSE = 0.5
MOST_PAUSE = 8.0
#: Why an answer ended. Another reason is told in the model server's own word.
FINISH_REASONS = {
    inference.FINISH_REASON_STOP: "stop",
    inference.FINISH_REASON_LENGTH: "length",
    inference.FINISH_REASON_TOOL_CALLS: "tool_calls",
}


class Bearer(str):
    """A header's value that holds a credential: `repr` doesn't show it."""

    def __repr__(self) -> str:
        return "'Bearer …'"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call with a single answer."""

    #: accounts or inference.
    stub: str
    method: str
    # It may hold a password.
    message: Any = field(repr=False)
    convert: Callable[[Any], T] = field(repr=False)
    #: Whether it may be sent again when nobody knows what became of it.
    repeatable: bool = True
    #: Whether it is sent without a credential.
    anonymous: bool = False
    request_id: Optional[str] = None

    def names_account(self) -> bool:
        """Whether it says who pays, where the client knows."""
        return self.stub != "accounts" or self.method in OF_AN_ACCOUNT


class Attempts:
    """Decides what follows a call that failed. Repeated is only what is safe: nothing was delivered, and the same request under the same id
    is charged once."""

    def __init__(self, most: int, deadline: Optional[float], repeatable: bool = True) -> None:
        self.left = most
        self.made = 0
        self.deadline = deadline
        self.repeatable = repeatable
        self.refreshed = False
        self.first: Optional[TollgateError] = None

    def timeout(self) -> Optional[float]:
        """Seconds that are left; None: no limit. gRPC takes years, and counts what is longer as over."""
        return None if self.deadline is None else min(max(self.deadline - time.monotonic(), 0.001), MOST_SECONDS)

    def should_refresh(self, error: TollgateError, has_session: bool) -> bool:
        """Whether a newer token is to be tried: once. A refused call has done nothing."""
        if self.refreshed or not has_session or not refuses_the_token(error):
            return False
        self.refreshed = True
        return True

    def pause_before_next(self, error: TollgateError) -> Optional[float]:
        """In how many seconds to try again; None: the error is the caller's."""
        if not self.repeatable or self.left <= 0 or not self.is_worth_it(error):
            return None
        asked = error.retry_after if isinstance(error, Refused) else None
        if asked is not None and asked > LONGEST_PAUSE:
            return None
        pause = min(FIRST_PAUSE * 2**self.made, MOST_PAUSE) * random.uniform(0.75, 1.25) if asked is None else asked
        if self.deadline is not None and time.monotonic() + pause >= self.deadline:
            return None
        self.left -= 1
        self.made += 1
        self.first = self.first or error
        LOG.debug("sent again in %.1f s, request %s: %s", pause, error.request_id or "without an id", error)
        return pause

    def is_worth_it(self, error: TollgateError) -> bool:
        if isinstance(error, (Unreachable, Interrupted, UnavailableError)):
            return True
        # The attempt before this one, whose end the service hasn't seen yet.
        return self.made > 0 and isinstance(error, Refused) and error.reason == "REQUEST_IN_PROGRESS"


class Progress:
    """What has come of an answer."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.started: Optional[inference.Started] = None
        self.finished: Optional[inference.Finished] = None
        self.pieces: List[Piece] = []

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.pieces)

    @property
    def thinking(self) -> str:
        return "".join(each.thinking for each in self.pieces)

    @property
    def tool_calls(self) -> List[ToolCall]:
        return [call for each in self.pieces for call in each.tool_calls]

    def take(self, event: Any) -> None:
        """Takes an event. One that is newer than this library is passed over."""
        kind = event.WhichOneof("event")
        if kind == "started":
            self.started = event.started
        elif kind == "finished":
            self.finished = event.finished
        elif kind == "delta":
            self.pieces.append(Piece.of(event.delta))

    def finish_reason(self) -> str:
        """stop, length, tool_calls, or the model server's own word."""
        if self.finished is None:
            return ""
        return FINISH_REASONS.get(self.finished.reason, self.finished.upstream_reason)

    def lost(self, attempts: Attempts) -> Optional[TollgateError]:
        return lost(self.finished, self.request_id, attempts) if self.finished is not None else None

    def ended_early(self) -> TollgateError:
        error = Interrupted("the answer ended without its last event")
        error.request_id = self.request_id
        return error


def lost(end: Any, request_id: Optional[str], attempts: Attempts) -> Optional[TollgateError]:
    """The error of an answer that was made and charged, and lost on its way: our own repetition finds it resolved. `end` is the answer, or
    its last event."""
    if not attempts.made or attempts.first is None or not getattr(end, "replayed", False):
        return None
    error = Interrupted(f"the answer was lost on its way, and is charged: {attempts.first}")
    error.request_id, error.receipt = request_id, Receipt.of_end(end, request_id or "")
    return clean(error)
