"""The config file of people: profiles by name, by the rules of the command `tollgate`. No error repeats a value of it."""

from __future__ import annotations

import os
import re
import stat
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional

import yaml

from ._bases import ConfigurationError

#: What a profile may have.
FIELDS = ("account", "auth_url", "ca", "client_certificate", "client_key", "key", "model", "session", "url")
#: Those that name a file.
PATHS = ("ca", "client_certificate", "client_key", "session")
#: The profile that always exists.
DEFAULT = "default"
MOST_BYTES = 64 << 10
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
# What YAML's core schema reads as something else than text.
NO_TEXT = re.compile(
    r"(?:~|null|Null|NULL|true|True|TRUE|false|False|FALSE"
    r"|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


@dataclass(frozen=True, repr=False)
class Profile:
    """What the file says of one profile. `repr` shows no value."""

    name: str
    #: The file, and whether it is there doesn't matter; None: this user has no place for one.
    file: Optional[Path]
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Profile({self.name!r}, has {', '.join(sorted(self.values)) or 'nothing'})"


def config_file(environment: Mapping[str, str]) -> Optional[Path]:
    """Where the file is looked for."""
    named = environment.get("TOLLGATE_CONFIG")
    if named:
        return Path(named)
    folder = base_folder(environment, "XDG_CONFIG_HOME", ".config")
    return folder / "tollgate" / "config.yaml" if folder else None


def kept_session_file(environment: Mapping[str, str], profile: str) -> Optional[Path]:
    """Where `tollgate login` keeps the session of a profile."""
    folder = base_folder(environment, "XDG_STATE_HOME", ".local/state")
    return folder / "tollgate" / "sessions" / profile if folder else None


def base_folder(environment: Mapping[str, str], variable: str, below_home: str) -> Optional[Path]:
    # The XDG specification: a relative path is to be ignored.
    named = Path(environment.get(variable, ""))
    if named.is_absolute():
        return named
    home = home_of(environment)
    return home / below_home if home else None


def home_of(environment: Mapping[str, str]) -> Optional[Path]:
    home = Path(environment.get("USERPROFILE" if sys.platform == "win32" else "HOME", ""))
    return home if home.is_absolute() else None


def load_profile(name: Optional[str], environment: Mapping[str, str]) -> Profile:
    """The profile of that name, of `TOLLGATE_PROFILE`, or the one called default."""
    chosen = name or environment.get("TOLLGATE_PROFILE") or DEFAULT
    file = config_file(environment)
    text = read(file) if file else None
    profiles = parse(text, str(file)) if text else {}
    if chosen not in profiles and chosen != DEFAULT:
        there = f"it has {', '.join(sorted(profiles))}" if profiles else "it has none"
        raise ConfigurationError(f"there is no profile {chosen!r} in {file}; {there}" if file else f"there is no profile {chosen!r}")
    values = profiles.get(chosen, {})
    found = {field: beside(value, file, environment) if field in PATHS else value for field, value in values.items()}
    return Profile(chosen, file, found)


def beside(value: str, file: Optional[Path], environment: Mapping[str, str]) -> str:
    """A path in the file: from the user's home, or from the file's folder."""
    home = home_of(environment)
    if value.startswith("~/") and home:
        return str(home / value[2:])
    return str(file.parent / value) if file else value


def read(file: Path) -> Optional[str]:
    """The file's text; None when it isn't there. Refused when others may have read it."""
    if str(file) == os.devnull:
        return None
    try:
        # Opening a pipe would wait for whoever writes into it.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from None
    try:
        refuse_readers(file, os.fstat(handle))
        data = os.read(handle, MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"{file} is longer than {MOST_BYTES >> 10} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8") from None


def refuse_readers(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{file} is no file")
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{file} is another user's")
    if status.st_mode & 0o077:
        raise ConfigurationError(f"{file} can be read by others than its owner: chmod 600 {file}")


def parse(text: str, file: str) -> Dict[str, Dict[str, str]]:
    """All profiles, checked as a whole."""
    return Reader(text, file).profiles()


class Reader:
    """Goes through a document event by event: what YAML offers beyond mappings of text is refused with its line."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.events = iter(list(self.checked(text)))

    def refuse(self, event: yaml.Event, why: str) -> ConfigurationError:
        line = event.start_mark.line + 1 if event.start_mark else 1
        return ConfigurationError(f"{self.file}: line {line}: {why}")

    def checked(self, text: str) -> Iterator[yaml.Event]:
        events: List[yaml.Event] = []
        problem: Optional[str] = None
        before, next_line, _ = text.partition("\x85")
        if next_line:
            # A line break in YAML of old, and a control character to everybody else.
            line = before.count("\n") + 1
            raise ConfigurationError(f"{self.file}: line {line}: it holds a control character")
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                events.append(event)
        except yaml.MarkedYAMLError as error:
            # What the parser says could quote a key.
            mark = error.problem_mark or error.context_mark
            problem = f"{self.file}: line {mark.line + 1 if mark else 1}: this is not YAML"
        except yaml.YAMLError:
            problem = f"{self.file}: it holds characters that YAML doesn't allow"
        if problem:
            raise ConfigurationError(problem)
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refuse(event, "a second document; there must be one")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self.refuse(event, "anchors and aliases are not taken")
            if getattr(event, "tag", None):
                raise self.refuse(event, "tags are not taken")
            if isinstance(event, yaml.NodeEvent) or isinstance(event, yaml.CollectionEndEvent):
                yield event

    def profiles(self) -> Dict[str, Dict[str, str]]:
        top = next(self.events, None)
        if top is None or self.is_nothing(top):
            return {}
        if not isinstance(top, yaml.MappingStartEvent):
            raise self.refuse(top, "there must be a mapping from names of profiles")
        found: Dict[str, Dict[str, str]] = {}
        for name in self.names("profile"):
            text = name.value
            if not NAME.match(text) or text.endswith(".lock"):
                raise self.refuse(name, "a profile's name is 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit")
            if text in found:
                raise self.refuse(name, f"the profile {text!r} is there twice")
            if text.lower() in (each.lower() for each in found):
                raise self.refuse(name, f"another profile differs from {text!r} only in upper and lower case")
            found[text] = self.profile(text)
        return found

    def profile(self, name: str) -> Dict[str, str]:
        start = next(self.events)
        if self.is_nothing(start):
            return {}
        if not isinstance(start, yaml.MappingStartEvent):
            raise self.refuse(start, f"the profile {name!r} must be a mapping of fields")
        found: Dict[str, str] = {}
        seen = set()
        for field in self.names("field"):
            text = field.value
            if text not in FIELDS:
                shown = text if re.match(r"[\w.-]{1,40}\Z", text) else "…"
                raise self.refuse(field, f'unknown field "{shown}" of profile "{name}"; known: {", ".join(FIELDS)}')
            if text in seen:
                raise self.refuse(field, f"the field {text!r} is there twice")
            seen.add(text)
            value = self.value(text)
            if value:
                found[text] = value
            if "key" in found and "session" in found:
                raise self.refuse(field, "a profile has a key or a session, not both")
        return found

    def names(self, what: str) -> Iterator[yaml.ScalarEvent]:
        """The keys of the mapping that began; whoever takes them takes the value behind each."""
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            if not isinstance(event, yaml.ScalarEvent):
                raise self.refuse(event, f"a {what}'s name must be text")
            if event.style is None and event.value == "<<":
                raise self.refuse(event, "merge keys are not taken")
            yield event

    def value(self, field: str) -> str:
        event = next(self.events)
        if not isinstance(event, yaml.ScalarEvent):
            raise self.refuse(event, f"{field} must be text")
        text: str = event.value
        if event.style is None and text and NO_TEXT.match(text):
            raise self.refuse(event, f"{field} must be text: put it in quotes")
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise self.refuse(event, f"{field} holds a line break or another control character")
        return text

    @staticmethod
    def is_nothing(event: yaml.Event) -> bool:
        return isinstance(event, yaml.ScalarEvent) and event.style is None and not event.value
