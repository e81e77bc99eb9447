"""The command `tollgate` and this client read one config file by one set of rules: given the same, both must make the same of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest
import tollgate
from conftest import PASSWORD, PROGRAMS, Stack
from test_config import WRONG, write
from tollgate import Tollgate
from tollgate._settings import Secret, SessionAt, Settings, resolve

NAMES = ("url", "auth_url", "account", "model", "ca", "client_certificate", "client_key")
RIGHT = [
    "",
    "# nothing\n",
    "---\nwork: {url: 'http://work:1'}\n",
    "work:\ndefault: {}\n",
    "default: {url: 'http://a:1', auth_url: http://b:2, model: m, account: \"0123\"}\n",
    "default: {ca: ca.pem, client_key: ~/k, client_certificate: /c}\n",
    "work: {key: yes, model: 2001-01-01, account: 1_000}\n",
    "work: {key: 1.2.3, model: 12e03x, account: 0b1, url: '', auth_url: \"\"}\n",
    "work: {session: kept/here}\ndefault: {session: ~/mine}\n",
    "work: {model: 'it''s', account: \"\\u0061\"}\n",
    "\ufeffwork:\r\n  url: http://a:1 # said\r\n",
    "work:\n  model: a: b\n",
    "work:\n  model: two\n    lines\n",
    "work:\n  model: >-\n    folded\n    text\n",
    "work:\n  model: |\n    with a break\n",
    "work: {model: 1:30}\n",
    "work: {model: +.5, url: 'http://a:1'}\n",
    "work: {model: 1., url: 'http://a:1'}\n",
    "work: {model: 0o17}\n",
    "work: {model: 017x}\n",
    "work: {model: Yes, account: off}\n",
    "work: {model: \"a\\tb\"}\n",
    "work: {model: ~x}\n",
    "work: {url: 'http://a:1'}\n...\n",
    "work: {url: 'http://a:1'}\n...\n---\n",
    "%YAML 1.2\n---\nwork: {url: 'http://a:1'}\n",
    "'work': {\"url\": 'http://a:1'}\n",
    "? work\n: {url: 'http://a:1'}\n",
    "work: {url: 'http://a:1',}\n",
    "work: null\n",
    "work: ''\n",
    "null\n",
    "1: {}\n",
    "a.b-c_d: {}\n",
    "work: {key: keychains}\n",
    "work: {url: [}\n",
    "work: {key:\n",
    "work:\n- a\n",
    "work: {Key: x}\n",
    "work: {url: 'a\u0085b'}\n",
    "work: {url: 'a\u2028b'}\n",
    "# a\u0085b\nwork: {url: 'http://a:1'}\n",
    "work: {url: a\u2029b}\n",
    "work: {url: a\u200bb}\n",
    "work: {\"url\": \"a\\x85b\"}\n",
    "work: {url: 'a\\nb'}\n",
    "work: {url: \"a\\nb\"}\n",
    "work:\n  url: http://a:1\n  url2: b\n",
    "work: {url: &a http://a:1, auth_url: *a}\n",
    "work: {url: http://a:1}\nwork : {}\n",
    "work: {url: http://a:1}\nWORK: {}\n",
    "work: {session: s, key: ''}\n",
    "work: {key: keychain, session: s}\n",
    "work: !!null\n",
    "!work : {}\n",
    "{work: {url: 'http://a:1'}}\n",
    "work: {url: 'http://a:1'}\n---\n",
    "--- {work: {url: 'http://a:1'}}\n",
    "work: {url: 0xg, model: 0o8, account: 1e, ca: +, client_certificate: .x, client_key: -.e1}\n",
    "work: {url: .5}\n",
    "work: {url: -.INF}\n",
    "work: {url: +.nan}\n",
    "work: {url: .NaN}\n",
    "work: {url: 1.5E+3}\n",
    "work: {url: TRUE}\n",
    "work: {url: tRUE}\n",
    "\u00fc: {}\n",
]
PROFILES = [None, "default", "work", "nobody", "a b"]
VARIABLES: list[dict[str, str]] = [
    {},
    {"TOLLGATE_PROFILE": "work"},
    {"TOLLGATE_API_KEY": "k", "TOLLGATE_SESSION": "s", "TOLLGATE_URL": "http://v:1", "TOLLGATE_MODEL": ""},
    {"TOLLGATE_SESSION": "s", "TOLLGATE_ACCOUNT": "acc", "TOLLGATE_PROFILE": ""},
    {"TOLLGATE_CA": "relative.pem", "TOLLGATE_MODEL": "m2", "TOLLGATE_AUTH_URL": "http://v:2"},
]


def by_command(profile: Optional[str], variables: dict[str, str]) -> Optional[dict[str, Any]]:
    """Each value and which of key and session is the credential; None: it is refused."""
    arguments = [] if profile is None else ["--profile", profile]
    done = subprocess.run(
        [str(PROGRAMS / "tollgate"), *arguments, "config", "--json"], env={**os.environ, **variables}, capture_output=True, text=True
    )
    if done.returncode != 0:
        return None
    told = json.loads(done.stdout)
    found = {each["name"]: each["value"] for each in told["values"] if each["name"] in NAMES}
    found["profile"] = told["profile"]
    found["credential"] = [each["name"] for each in told["values"] if each["isCredential"]]
    return found


def by_client(profile: Optional[str], variables: dict[str, str]) -> Optional[dict[str, Any]]:
    try:
        settings: Settings = resolve({}, {**os.environ, **variables}, profile)
    except tollgate.ConfigurationError:
        return None
    found: dict[str, Any] = {name: getattr(settings, name) for name in NAMES}
    found["profile"] = settings.profile
    kind = {Secret: ["key"], SessionAt: ["session"], type(None): []}
    found["credential"] = kind[type(settings.credential)]
    return found


def of_file(home: Path, text: str) -> list[str]:
    """In what both differ."""
    write(home, text)
    differ = []
    for profile in PROFILES:
        for variables in VARIABLES if profile is None else [{}]:
            command, client = by_command(profile, variables), by_client(profile, variables)
            if command != client:
                differ.append(f"profile {profile!r}, {variables}: the command has {command}, the client {client}")
    return differ


@pytest.mark.parametrize("text", RIGHT + [text for text in WRONG if "\x07" not in text], ids=lambda text: repr(text)[:40])
def test_command_and_client_make_the_same_of_a_config_file(home: Path, text: str) -> None:
    assert of_file(home, text) == []


def test_command_and_client_look_for_the_file_in_the_same_places(home: Path, tmp_path: Path) -> None:
    write(home, "default: {url: 'http://home:1'}\n")
    other = tmp_path / "other" / "tollgate"
    other.mkdir(parents=True)
    for file in (other / "config.yaml", tmp_path / "named.yaml"):
        file.write_text(f"default: {{url: 'http://{file.stem}:1', ca: ca.pem}}\n")
        file.chmod(0o600)
    for variables in (
        {},
        {"XDG_CONFIG_HOME": str(other.parent)},
        {"XDG_CONFIG_HOME": "relative"},
        {"XDG_CONFIG_HOME": ""},
        {"TOLLGATE_CONFIG": str(tmp_path / "named.yaml")},
        {"TOLLGATE_CONFIG": str(tmp_path / "missing.yaml")},
        {"TOLLGATE_CONFIG": "/dev/null"},
        {"TOLLGATE_CONFIG": ""},
        {"TOLLGATE_CONFIG": str(tmp_path)},
        {"HOME": ""},
        {"HOME": "relative"},
    ):
        command, client = by_command(None, variables), by_client(None, variables)
        assert command == client, variables


def test_the_session_that_the_command_keeps_for_a_profile_is_used_and_refreshed_here(brief: Stack, home: Path, client_class: Any) -> None:
    person = brief.person()
    write(home, f"default: {{url: '{brief.url}', auth_url: '{brief.auth_url}'}}\n")
    program = str(PROGRAMS / "tollgate")
    done = subprocess.run([program, "login", person.name], input=PASSWORD + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kept = home / ".local/state/tollgate/sessions/default"
    assert json.loads(kept.read_text())["auth_url"].rstrip("/") == brief.auth_url
    with client_class() as client:
        assert client.me().name == person.name
        client.refresh()
        assert subprocess.run([program, "me"], capture_output=True, text=True, timeout=60).returncode == 0
        assert client.me().name == person.name
    with pytest.raises(tollgate.ConfigurationError, match="goes to no other server"):
        Tollgate(auth_url="http://127.0.0.1:1")
