"""A session: its tokens, and when they are renewed. What decides is here, without threads and without an event loop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional, Tuple

from google.protobuf.timestamp_pb2 import Timestamp

from ._bases import ConfigurationError, Interrupted, Refused, SessionEnded, TimedOut, TollgateError, UnavailableError
from ._clean import another
from ._secret import Secret, is_sendable

#: How long an answer to a refresh is waited for. Two times that must be less than the 30 s for which a refresh token is taken once more.
REPLY_WITHIN = 8.0
#: How long a token that is still good is used after a refresh came to nothing, before the next one is tried.
NEXT_TRY_AFTER = 5.0
#: A refresh that is refused so is refused for good.
ENDING = frozenset(
    [
        "CREDENTIAL_INVALID",
        "CREDENTIAL_EXPIRED",
        "CREDENTIAL_REVOKED",
        "REFRESH_TOKEN_REUSED",
        "USER_DISABLED",
        "USER_LOCKED",
        "PASSWORD_CHANGE_REQUIRED",
    ]
)
#: A call that is refused so may go through with a newer token.
REFUSED_TOKEN = frozenset(["CREDENTIAL_EXPIRED", "CREDENTIAL_REVOKED", "CREDENTIAL_INVALID"])


@dataclass(frozen=True)
class Tokens:
    """What a login or a refresh gave. Times are seconds since 1970."""

    session_id: str
    access: Secret
    expires_at: Optional[float] = None
    #: Gives the next two, once. None: the session ends with its access token.
    refresh: Optional[Secret] = None
    refresh_expires_at: Optional[float] = None
    #: From when on it is renewed, by this host's clock: after four fifths of the access token's life. None: the clocks of both hosts
    #: are known to differ, and the service says when it is time.
    refresh_at: Optional[float] = None

    @classmethod
    def of(cls, answer: Any, now: Optional[float] = None) -> Tokens:
        """Of the answer to Login or Refresh."""
        now = time.time() if now is None else now
        if not is_sendable(answer.access_token):
            raise ConfigurationError("auth-service gave no access token that can be sent")
        expires_at = seconds_of(answer.expires_at) if answer.HasField("expires_at") else None
        ahead = expires_at is not None and expires_at > now
        return cls(
            session_id=answer.session_id,
            access=Secret(answer.access_token),
            expires_at=expires_at,
            refresh=Secret(answer.refresh_token) if answer.refresh_token else None,
            refresh_expires_at=seconds_of(answer.refresh_expires_at) if answer.HasField("refresh_expires_at") else None,
            refresh_at=now + (expires_at - now) * 4 / 5 if expires_at is not None and ahead else None,
        )


def seconds_of(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


class Standing(Enum):
    """What a token is good for, by this host's clock."""

    GOOD = "good"
    #: Good, and soon no more.
    DUE = "due"
    OVER = "over"


@dataclass
class SessionState:
    """A session as the callers share it; each looks at it and changes it while nobody else does."""

    tokens: Tokens
    #: Counts the sessions that were got.
    generation: int = 0
    #: When the next refresh may be tried while the token is still good, on the clock that only goes forward.
    next_try: Optional[float] = None
    #: Why the session is no more.
    ended: Optional[TollgateError] = field(default=None, repr=False)

    def look(self) -> Tuple[Secret, int, Standing]:
        """The access token, which one it is, and whether it should be renewed. Raises once the session has ended."""
        self.raise_if_ended()
        return self.tokens.access, self.generation, self.standing(time.time(), time.monotonic())

    def raise_if_ended(self) -> None:
        if self.ended:
            raise another(self.ended)

    def standing(self, now: float, tick: float) -> Standing:
        tokens = self.tokens
        if tokens.refresh is None:
            # Nothing can be done about its end: the service says when it is there.
            return Standing.GOOD
        if tokens.refresh_at is None:
            return Standing.GOOD
        if tokens.expires_at is not None and tokens.expires_at <= now:
            return Standing.OVER
        is_due = tokens.refresh_at <= now and (self.next_try is None or self.next_try <= tick)
        return Standing.DUE if is_due else Standing.GOOD

    def replace(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.generation += 1
        self.next_try = None

    def failed(self, error: TollgateError) -> None:
        """Notes that a refresh came to nothing."""
        self.next_try = time.monotonic() + NEXT_TRY_AFTER
        if isinstance(error, SessionEnded):
            self.ended = error

    def end(self, why: str) -> None:
        """The service was told to end it."""
        error = SessionEnded(f"the session has ended: {why}")
        error.code, error.reason, error.message = "UNAUTHENTICATED", "CREDENTIAL_REVOKED", why
        error.refusal = error
        self.ended = error


def ended_by(error: TollgateError) -> TollgateError:
    """The error of a refresh: one that ends the session says so."""
    if not isinstance(error, Refused) or error.reason not in ENDING:
        return error
    ended = SessionEnded(f"the session has ended: {error}")
    for name in ("code", "reason", "message", "metadata", "request_id"):
        setattr(ended, name, getattr(error, name))
    ended.refusal = error
    return ended


def may_be_asked_again(error: TollgateError) -> bool:
    """Whether a refresh is sent once more: its answer was lost, or the service says that it did nothing."""
    return isinstance(error, (Interrupted, TimedOut, UnavailableError))


def refuses_the_token(error: TollgateError) -> bool:
    """Whether a refresh can help a call that failed so."""
    return isinstance(error, Refused) and error.code == "UNAUTHENTICATED" and error.reason in REFUSED_TOKEN


NO_REFRESH_TOKEN = "the session has no refresh token: log in again"
