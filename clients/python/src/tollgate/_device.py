"""The sign-in of a device without a browser (RFC 8628), without I/O: what is shown, and when the service is asked again."""

from __future__ import annotations

import html
import importlib
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Iterable, Mapping, Optional, Tuple

from ._bases import ConfigurationError, Interrupted, TimedOut, TollgateError, UnavailableError, Unreachable
from ._secret import Secret
from ._session import Tokens
from ._types import time_of

#: How much longer the pauses are after the service said that it is asked too often.
SLOWER_BY = 5.0
#: RFC 8628's pause where the service names none.
USUAL_INTERVAL = 5.0
#: How long somebody is waited for at most, whatever the clocks of both hosts say. The service's own word comes earlier.
LONGEST_WAIT = 1800.0
MOST_PAUSE = 60.0


@dataclass(frozen=True)
class DeviceSignIn:
    """A sign-in that somebody has to approve: open `address`, and enter `code`."""

    #: Eight letters, `BCDF-GHJK`.
    code: str
    #: Where to enter it.
    address: str
    #: The same with the code in it.
    address_with_code: str
    #: Until when.
    expires_at: Optional[datetime]
    #: Seconds between two questions.
    interval: float = field(repr=False)
    #: What the service is asked with.
    device_code: Secret = field(repr=False)

    @classmethod
    def of(cls, of: Any) -> DeviceSignIn:
        interval = of.interval.seconds + of.interval.nanos / 1e9 if of.HasField("interval") else USUAL_INTERVAL
        return cls(
            code=printable(of.user_code),
            address=printable(of.verification_uri),
            address_with_code=printable(of.verification_uri_complete),
            expires_at=time_of(of, "expires_at"),
            interval=max(interval, 0.0),
            device_code=Secret(of.device_code),
        )

    def __str__(self) -> str:
        lines = [f"To sign in, open {self.address} and enter the code {self.code}"]
        if self.address_with_code and self.address_with_code != self.address:
            lines.append(f"or open {self.address_with_code}")
        return "\n".join(lines)

    def as_html(self) -> str:
        """As `str`, with links. Only what a browser opens as a page becomes one."""
        code = f"<code>{html.escape(self.code)}</code>"
        return f"To sign in, open {link(self.address_with_code or self.address, self.address)} and compare or enter the code {code}."


def printable(text: str) -> str:
    """What a terminal shows and doesn't obey."""
    return "".join(character for character in text if character.isprintable())


def link(address: str, text: str) -> str:
    shown = html.escape(text)
    if not address.startswith(("https://", "http://")):
        return shown
    return f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{shown}</a>'


#: Shows a sign-in, and gives what says how it ended; or None.
Show = Callable[[DeviceSignIn], Optional[Callable[[str], None]]]


def check_way(by_device: bool, code: Optional[Secret], scopes: Iterable[str]) -> None:
    """Refuses what the way of signing in has no place for."""
    if by_device and code:
        raise ConfigurationError("a code of the second factor comes with user and password")
    if scopes and not by_device:
        raise ConfigurationError("scopes are for a sign-in without user and password; a key can have them too")


class Polling:
    """When the service is asked whether somebody has approved. Times are those of the clock that only goes forward."""

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.until = now + LONGEST_WAIT
        #: How often in a row the service wasn't there.
        self.away = 0

    def pause(self) -> float:
        """Seconds until the next question: the interval, and longer the longer the service is away."""
        return self.interval if not self.away else max(self.interval, min(self.interval * 2**self.away, MOST_PAUSE))

    def outcome(self, error: TollgateError, now: float) -> Optional[TollgateError]:
        """What ends the sign-in; None: it goes on."""
        reason = getattr(error, "reason", None)
        is_away = isinstance(error, (Unreachable, Interrupted, TimedOut, UnavailableError))
        if now >= self.until or not (is_away or reason in ("AUTHORIZATION_PENDING", "SLOW_DOWN")):
            return error
        if is_away:
            self.away += 1
            return None
        self.away = 0
        if reason == "SLOW_DOWN":
            self.interval += SLOWER_BY
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            self.interval = max(self.interval, min(asked, MOST_PAUSE))
        return None


def exchanged(answer: Any) -> Tuple[Tokens, str]:
    """The session that was approved, and whose it is."""
    return Tokens.of(answer), printable(answer.user_name)


def show(sign_in: DeviceSignIn) -> Callable[[str], None]:
    """Shows it: in a notebook as a link, else on standard error. What it gives says how it ended: in a notebook in place of the code, so
    that none is kept in the file."""
    if kernel() is None:
        print(sign_in, file=sys.stderr, flush=True)
        return lambda end: print(end, file=sys.stderr, flush=True)
    display: Any = importlib.import_module("IPython.display").display
    handle = display(bundle(str(sign_in), sign_in.as_html()), raw=True, display_id=True)
    return lambda end: handle.update(bundle(end, html.escape(end)), raw=True) if handle else None


def bundle(text: str, markup: str) -> Mapping[str, str]:
    return {"text/plain": text, "text/html": markup}


def kernel() -> Optional[Any]:
    """The kernel of a notebook that this runs in; None: a terminal or a program."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None)
