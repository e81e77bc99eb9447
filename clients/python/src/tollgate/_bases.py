"""What every error of this library is below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Mapping, Optional, Tuple

if TYPE_CHECKING:
    from ._types import Receipt


class TollgateError(Exception):
    """Any failure of this library. Its text holds no credential, no prompt and no answer."""

    #: The id of the request that failed, for chats: the key to `receipt`, and to a repetition that is charged once.
    request_id: Optional[str] = None


class ConfigurationError(TollgateError):
    """A URL, a credential, a file or a profile can't be used. Nothing was sent."""


class TransportError(TollgateError):
    """A service was not reached, or its answer didn't come."""


class Unreachable(TransportError):
    """No connection could be made. The request was not sent."""


class Interrupted(TransportError):
    """The connection broke during the call. What became of the request is not known: repeat it under the same request id, or ask for its
    receipt."""

    #: What was charged, where that is known: an answer that was charged, and lost on its way.
    receipt: Optional[Receipt] = None


class TimedOut(TransportError):
    """The caller's own time limit passed, and the call was cancelled. Its receipt says what it cost."""


class AnswerLeft(TollgateError):
    """The answer was left before its end, so that its receipt isn't here: ask for it by the request id."""


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request that can't be taken."""

    #: Its path in the contract.
    field: str
    #: What it must be.
    description: str


class Refused(TollgateError):
    """A service answered with an error. Each reason of the contract has a class below one of the few that follow; a reason that is newer
    than this library is one of those few by its gRPC code."""

    #: The reason that this class stands for; empty for those that stand for several.
    REASON: ClassVar[str] = ""

    #: A sentence for people that says what to do.
    message: str = ""
    #: The gRPC code, such as `RESOURCE_EXHAUSTED`.
    code: str = "UNKNOWN"
    #: Why, such as `INSUFFICIENT_CREDITS`; None when the answer was not Tollgate's own, such as a proxy's.
    reason: Optional[str] = None
    #: More, for programs.
    metadata: Mapping[str, str] = {}
    #: Every field that can't be taken.
    field_violations: Tuple[FieldViolation, ...] = ()
    #: The quotas that were hit: subjects and descriptions.
    quotas: Tuple[Tuple[str, str], ...] = ()
    #: In how many seconds the same call may succeed, if the service says so.
    retry_after: Optional[float] = None
    #: What was charged, when the call failed after it had cost something.
    receipt: Optional[Receipt] = None


class AuthenticationError(Refused):
    """UNAUTHENTICATED: no credential, or one that doesn't count (any more)."""


class PermissionDeniedError(Refused):
    """PERMISSION_DENIED: the credential counts, and doesn't allow this."""


class RequestError(Refused):
    """INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED, OUT_OF_RANGE: the request has to change."""


class ExhaustedError(Refused):
    """RESOURCE_EXHAUSTED: credits, a limit or a queue."""


class UnavailableError(Refused):
    """UNAVAILABLE: the service, or what is behind it, can't answer now."""


class AbortedError(Refused):
    """ABORTED, CANCELLED, DEADLINE_EXCEEDED: the call was ended on its way."""


class ServerError(Refused):
    """INTERNAL, UNKNOWN, DATA_LOSS: something is wrong with the service."""


class SessionEnded(Refused):
    """The session is no more, or its user may not come in: nothing but another login helps. `refusal` is what the service said to the
    refresh, by its reason's own class."""

    #: What the service answered.
    refusal: Refused


BY_CODE: Mapping[str, type[Refused]] = {
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "INVALID_ARGUMENT": RequestError,
    "FAILED_PRECONDITION": RequestError,
    "NOT_FOUND": RequestError,
    "ALREADY_EXISTS": RequestError,
    "UNIMPLEMENTED": RequestError,
    "OUT_OF_RANGE": RequestError,
    "RESOURCE_EXHAUSTED": ExhaustedError,
    "UNAVAILABLE": UnavailableError,
    "ABORTED": AbortedError,
    "CANCELLED": AbortedError,
    "DEADLINE_EXCEEDED": AbortedError,
}
