"""A text that is used and never shown."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A credential. It has no `__dict__`, is shown as `Secret(…)`, and is neither pickled nor copied."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a credential must be a str, not {type(text).__name__}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            # What refuses it later would show it.
            raise ValueError("a credential must be text that UTF-8 can encode")
        self.__text = text

    def expose(self) -> str:
        """The text itself. Never keep it in a variable: tracebacks that show variables would show it."""
        return self.__text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash(self.__text)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret can't be pickled or copied")


def is_sendable(text: str) -> bool:
    """Whether a text can stand in a header as one word."""
    return bool(text) and all("!" <= character <= "~" for character in text)
