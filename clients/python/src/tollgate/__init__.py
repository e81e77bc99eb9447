"""The Python client of Tollgate: models, answers streamed with their receipts, credits, API keys, sign-in.

`Tollgate` is for threads and plain programs, `AsyncTollgate` for an event loop. Every error is below `TollgateError`, and each reason of a
refusal has a class of its own in `tollgate.errors`. The generated stubs are `tollgate.auth.v1` and `tollgate.inference.v1`.
"""

from __future__ import annotations

from . import errors
from ._answer import Answer
from ._answer_aio import AsyncAnswer
from ._transport import VERSION as __version__
from ._transport import PlaintextWarning
from ._types import (
    ApiKey,
    Balance,
    Embeddings,
    KeySecret,
    LedgerEntry,
    Logprob,
    Model,
    ModelDetails,
    NewKey,
    Piece,
    Receipt,
    Session,
    ToolCall,
    User,
)
from .aio import AsyncTollgate
from .client import Tollgate
from .errors import *  # noqa: F403

__all__ = [
    "Answer",
    "ApiKey",
    "AsyncAnswer",
    "AsyncTollgate",
    "Balance",
    "Embeddings",
    "KeySecret",
    "LedgerEntry",
    "Logprob",
    "Model",
    "ModelDetails",
    "NewKey",
    "Piece",
    "PlaintextWarning",
    "Receipt",
    "Session",
    "ToolCall",
    "Tollgate",
    "User",
    "__version__",
    "errors",
]
__all__ += errors.__all__
