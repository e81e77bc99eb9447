"""A session that is kept by refreshing it, for the tasks of an event loop: one refresh at a time, whoever asks."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, Optional, Tuple

from ._bases import ConfigurationError, SessionEnded, TollgateError
from ._clean import another, clean
from ._secret import Secret
from ._session import NO_REFRESH_TOKEN, SessionState, Standing, Tokens, may_be_asked_again
from ._session_file import SessionFile, taken_from


class AsyncKeptSession:
    """A session that the tasks of a client share. `ask` sends a refresh."""

    __slots__ = ("_ask", "_file", "_flight", "_state")

    def __init__(self, tokens: Tokens, file: Optional[SessionFile], ask: Callable[[Secret], Awaitable[Tokens]]) -> None:
        self._state = SessionState(tokens)
        self._file = file
        self._ask = ask
        #: The refresh that is on its way.
        self._flight: Optional[asyncio.Task[Optional[BaseException]]] = None

    def __repr__(self) -> str:
        return f"AsyncKeptSession({self._state.tokens.session_id!r})"

    def is_over(self) -> bool:
        """Whether it has ended, as far as is known here."""
        return self._state.ended is not None

    async def token(self) -> Tuple[Secret, int]:
        """A token for a call that begins now, and which one it is. While one task refreshes ahead of the end, the others go on with the
        token that is there; once it is over, they wait."""
        token, generation, standing = self._state.look()
        if standing is Standing.GOOD or (standing is Standing.DUE and self._is_flying()):
            return token, generation
        try:
            await self._landed()
        except (SessionEnded, ConfigurationError):
            raise
        except TollgateError:
            # The token is good for a while, and so is the next try.
            if standing is Standing.OVER:
                raise
        token, generation, _ = self._state.look()
        return token, generation

    async def renewed(self, generation: int) -> bool:
        """Waits for a session newer than this one. False: it can't be refreshed."""
        self._state.raise_if_ended()
        if self._state.generation != generation:
            return True
        if self._state.tokens.refresh is None:
            return False
        await self._landed()
        return True

    async def refresh(self) -> None:
        """Refreshes now, whatever the token's time."""
        if not await self.renewed(self._state.generation):
            raise ConfigurationError(NO_REFRESH_TOKEN)

    async def end(self) -> None:
        """After the service has ended it."""
        self._state.end("you signed out")
        if self._file:
            await asyncio.to_thread(self._file.remove, self._state.tokens.session_id)

    def _is_flying(self) -> bool:
        """Whether a refresh is on its way. One of an event loop that is over never comes to its end."""
        flight = self._flight
        return flight is not None and not flight.done() and flight.get_loop() is asyncio.get_running_loop()

    async def _landed(self) -> None:
        """Refreshes in a task of its own, which others may wait for too: a task that is cancelled in the middle would lose the answer, and
        with it the session, since what was sent is used up."""
        if self._flight is None or not self._is_flying():
            self._flight = asyncio.get_running_loop().create_task(self._fly(), name="tollgate-refresh")
        failure = await asyncio.shield(self._flight)
        if isinstance(failure, TollgateError):
            raise another(failure)
        if failure:
            raise failure

    async def _fly(self) -> Optional[BaseException]:
        try:
            await self._try_once()
        except TollgateError as error:
            self._state.failed(clean(error))
            return error
        except Exception as error:
            return error
        return None

    async def _try_once(self) -> None:
        mine = self._state.tokens
        if self._file is None:
            self._state.replace(await self._asked(mine))
            return
        with await asyncio.to_thread(self._file.lock):
            stored, is_ours = await asyncio.to_thread(taken_from, self._file, mine)
            if stored:
                self._state.replace(stored)
                if self._state.look()[2] is Standing.GOOD:
                    return
            tokens = await self._asked(stored or mine)
            self._state.replace(tokens)
            if is_ours:
                await asyncio.to_thread(self._file.save, tokens)

    async def _asked(self, tokens: Tokens) -> Tokens:
        """When the reply is lost, the same is asked once more."""
        if tokens.refresh is None:
            raise ConfigurationError(NO_REFRESH_TOKEN)
        try:
            return await self._ask(tokens.refresh)
        except TollgateError as error:
            if not may_be_asked_again(error):
                raise
        return await self._ask(tokens.refresh)
