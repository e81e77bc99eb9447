"""The Python client of Tollgate: models, answers streamed with their receipts, credits, API keys, sign-in.

`Tollgate` is for threads and plain programs, `AsyncTollgate` for an event loop. Every error is below `TollgateError`, and each reason of a
refusal has a class of its own in `tollgate.errors`. The generated stubs are `tollgate.auth.v1` and `tollgate.inference.v1`.
"""

from __future__ import annotations

from . import _reasons, errors
from ._answer import Answer
from ._answer_aio import AsyncAnswer
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
from ._device import DeviceSignIn
from ._organization_types import Invitation, NewInvitation
from ._reasons import *  # noqa: F403
from ._transport import VERSION as __version__
from ._transport import PlaintextWarning
from ._types import (
    ApiKey,
    Balance,
    Embeddings,
    KeySecret,
    LedgerEntry,
    Logprob,
    Member,
    Model,
    ModelDetails,
    NewKey,
    Organization,
    Piece,
    Receipt,
    ServiceAccount,
    Session,
    ToolCall,
    Usage,
    UsageRow,
    User,
)
from .aio import AsyncTollgate
from .client import Tollgate

__all__ = [
    "AbortedError",
    "Answer",
    "AnswerLeft",
    "ApiKey",
    "AsyncAnswer",
    "AsyncTollgate",
    "AuthenticationError",
    "Balance",
    "ConfigurationError",
    "DeviceSignIn",
    "Embeddings",
    "ExhaustedError",
    "FieldViolation",
    "Interrupted",
    "Invitation",
    "KeySecret",
    "LedgerEntry",
    "Logprob",
    "Member",
    "Model",
    "ModelDetails",
    "NewInvitation",
    "NewKey",
    "Organization",
    "PermissionDeniedError",
    "Piece",
    "PlaintextWarning",
    "Receipt",
    "Refused",
    "RequestError",
    "ServerError",
    "ServiceAccount",
    "Session",
    "SessionEnded",
    "TimedOut",
    "Tollgate",
    "TollgateError",
    "ToolCall",
    "TransportError",
    "UnavailableError",
    "Unreachable",
    "Usage",
    "UsageRow",
    "User",
    "__version__",
    "errors",
]
__all__ += _reasons.__all__
