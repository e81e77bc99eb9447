"""Errors without what led to them: frames below this library's own hold credentials and prompts in their variables, and tracebacks that
show variables (IPython's `%xmode Verbose`, error reporters) would show them."""

from __future__ import annotations

import copy
from typing import Callable, TypeVar

from ._bases import TollgateError

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def clean(error: E) -> E:
    """The error, with no frame and no other error behind it. To be raised where no other is being handled."""
    error.__cause__ = None
    error.__context__ = None
    return error.with_traceback(None)


def another(error: TollgateError) -> TollgateError:
    """The same error for another caller: one that two threads raise would collect the frames of both."""
    return clean(copy.copy(error))


def cleanly(call: Callable[[], T]) -> T:
    """What a call gives, or its error without the frames below."""
    problem: BaseException
    try:
        return call()
    except (TollgateError, KeyboardInterrupt, EOFError) as error:
        problem = clean(error)
    raise problem
