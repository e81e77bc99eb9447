"""Every error of this library, those of the contract's reasons included."""

from __future__ import annotations

from . import _reasons
from ._bases import (
    AbortedError,
    AnswerLeft,
    AuthenticationError,
    ConfigurationError,
    ExhaustedError,
    FieldViolation,
    Interrupted,
    PermissionDeniedError,
    Refused,
    RequestError,
    ServerError,
    SessionEnded,
    TimedOut,
    TollgateError,
    TransportError,
    UnavailableError,
    Unreachable,
)
from ._reasons import *  # noqa: F403

__all__ = [
    "AbortedError",
    "AnswerLeft",
    "AuthenticationError",
    "ConfigurationError",
    "ExhaustedError",
    "FieldViolation",
    "Interrupted",
    "PermissionDeniedError",
    "Refused",
    "RequestError",
    "ServerError",
    "SessionEnded",
    "TimedOut",
    "TollgateError",
    "TransportError",
    "UnavailableError",
    "Unreachable",
]
__all__ += _reasons.__all__
