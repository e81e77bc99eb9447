"""A session that is kept by refreshing it, for threads: one refresh at a time, whoever asks."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Optional, Tuple

from ._bases import ConfigurationError, SessionEnded, TollgateError
from ._clean import another, cleanly
from ._secret import Secret
from ._session import NO_REFRESH_TOKEN, SessionState, Standing, Tokens, may_be_asked_again
from ._session_file import SessionFile, taken_from


class KeptSession:
    """A session that the threads of a client share. `ask` sends a refresh."""

    __slots__ = ("_ask", "_file", "_flight", "_guard", "_state")

    def __init__(self, tokens: Tokens, file: Optional[SessionFile], ask: Callable[[Secret], Tokens]) -> None:
        self._state = SessionState(tokens)
        self._file = file
        self._ask = ask
        # Held for a look at a time, never while anything is sent.
        self._guard = threading.Lock()
        #: The refresh that is on its way.
        self._flight: Optional[Future[None]] = None

    def __repr__(self) -> str:
        return f"KeptSession({self._state.tokens.session_id!r})"

    def is_over(self) -> bool:
        """Whether it has ended, as far as is known here."""
        return self._state.ended is not None

    def token(self) -> Tuple[Secret, int]:
        """A token for a call that begins now, and which one it is. While one thread refreshes ahead of the end, the others go on with the
        token that is there; once it is over, they wait."""
        with self._guard:
            token, generation, standing = self._state.look()
            if standing is Standing.GOOD or (standing is Standing.DUE and self._flight):
                return token, generation
            flight = self._flight or self._start()
        try:
            landed(flight)
        except (SessionEnded, ConfigurationError):
            raise
        except TollgateError:
            # The token is good for a while, and so is the next try.
            if standing is Standing.OVER:
                raise
        with self._guard:
            token, generation, _ = self._state.look()
            return token, generation

    def renewed(self, generation: int) -> bool:
        """Waits for a session newer than this one. False: it can't be refreshed."""
        with self._guard:
            self._state.raise_if_ended()
            if self._state.generation != generation:
                return True
            if self._state.tokens.refresh is None:
                return False
            flight = self._flight or self._start()
        landed(flight)
        return True

    def refresh(self) -> None:
        """Refreshes now, whatever the token's time."""
        with self._guard:
            generation = self._state.generation
        if not self.renewed(generation):
            raise ConfigurationError(NO_REFRESH_TOKEN)

    def end(self) -> None:
        """After the service has ended it."""
        with self._guard:
            self._state.end("you signed out")
            session_id = self._state.tokens.session_id
        if self._file:
            self._file.remove(session_id)

    def _start(self) -> Future[None]:
        """Refreshes in a thread of its own: a Ctrl-C in the middle would lose the answer, and with it the session, since what was sent is
        used up."""
        flight: Future[None] = Future()
        self._flight = flight
        try:
            threading.Thread(target=self._fly, args=(flight,), name="tollgate-refresh", daemon=True).start()
        except RuntimeError:
            # No thread can be started, as when the interpreter ends.
            self._flight = None
            flight.set_exception(ConfigurationError("the session can't be refreshed while the program ends"))
        return flight

    def _fly(self, flight: Future[None]) -> None:
        failure: Optional[BaseException] = None
        try:
            cleanly(self._try_once)
        except BaseException as error:
            failure = error
        with self._guard:
            self._flight = None
            if isinstance(failure, TollgateError):
                self._state.failed(failure)
        if failure:
            flight.set_exception(failure)
        else:
            flight.set_result(None)

    def _try_once(self) -> None:
        if self._file is None:
            self._replace(self._asked(self._state.tokens))
            return
        with self._file.lock():
            mine = self._state.tokens
            stored, is_ours = taken_from(self._file, mine)
            if stored:
                self._replace(stored)
                with self._guard:
                    if self._state.look()[2] is Standing.GOOD:
                        return
            tokens = self._asked(stored or mine)
            self._replace(tokens)
            if is_ours:
                self._file.save(tokens)

    def _asked(self, tokens: Tokens) -> Tokens:
        """When the reply is lost, the same is asked once more."""
        if tokens.refresh is None:
            raise ConfigurationError(NO_REFRESH_TOKEN)
        try:
            return self._ask(tokens.refresh)
        except TollgateError as error:
            if not may_be_asked_again(error):
                raise
        return self._ask(tokens.refresh)

    def _replace(self, tokens: Tokens) -> None:
        with self._guard:
            self._state.replace(tokens)


def landed(flight: Future[None]) -> None:
    """Waits for a refresh that others may wait for too."""
    error = flight.exception()
    if isinstance(error, TollgateError):
        raise another(error)
    if error:
        raise error
