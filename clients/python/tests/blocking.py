"""`AsyncTollgate` with the manners of `Tollgate`, on an event loop that only they use: so that each claim is tested once, and of both."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Iterator

from tollgate import AsyncAnswer, AsyncTollgate

LOOP = asyncio.new_event_loop()


def is_running() -> bool:
    """Whether some loop runs in this thread."""
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


class BlockingAnswer:
    """An answer of the event loop, read by a plain program."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: AsyncAnswer) -> None:
        self._loop = loop
        self.answer = answer

    def __iter__(self) -> Iterator[str]:
        texts = self.answer.__aiter__()
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(texts.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            del texts
            # What the loop was told by the destructor is done now, unless this is what a later test finds to collect.
            if not is_running():
                self._loop.run_until_complete(asyncio.sleep(0))

    def __enter__(self) -> BlockingAnswer:
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run_until_complete(self.answer.__aexit__(*error))

    def __getattr__(self, name: str) -> Any:
        if name in ("text", "receipt", "message", "thinking", "tool_calls", "replayed"):
            self._loop.run_until_complete(self.answer.complete())
        found = getattr(self.answer, name)
        return found if not callable(found) else blocking(self._loop, found)

    def __repr__(self) -> str:
        return repr(self.answer)


class Blocking:
    """A client, or its keys, sessions and organizations."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._loop = LOOP
        self.client: Any = AsyncTollgate(*arguments, **settings)

    @classmethod
    def login(cls, *arguments: Any, **settings: Any) -> Blocking:
        self = cls.__new__(cls)
        self._loop = LOOP
        self.client = self._loop.run_until_complete(AsyncTollgate.login(*arguments, **settings))
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "client":
            # A sign-in that failed.
            raise AttributeError(name)
        found = getattr(self.client, name)
        if name in ("keys", "sessions", "organizations"):
            part = Blocking.__new__(Blocking)
            part._loop, part.client = self._loop, found
            return part
        return found if not callable(found) else blocking(self._loop, found)

    def chat(self, *arguments: Any, stream: bool = True, **options: Any) -> BlockingAnswer:
        return self._sent(self.client.chat(*arguments, **options), stream)

    def generate(self, *arguments: Any, stream: bool = True, **options: Any) -> BlockingAnswer:
        return self._sent(self.client.generate(*arguments, **options), stream)

    def _sent(self, answer: AsyncAnswer, stream: bool) -> BlockingAnswer:
        if not stream:
            self._loop.run_until_complete(answer.complete())
        return BlockingAnswer(self._loop, answer)

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(vars(self).get("client"))


def blocking(loop: asyncio.AbstractEventLoop, method: Any) -> Any:
    def call(*arguments: Any, **settings: Any) -> Any:
        found = method(*arguments, **settings)
        if inspect.isasyncgen(found):
            return listed(loop, found)
        return loop.run_until_complete(found) if inspect.isawaitable(found) else found

    return call


def listed(loop: asyncio.AbstractEventLoop, generator: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [each async for each in generator]

    return loop.run_until_complete(collect())
