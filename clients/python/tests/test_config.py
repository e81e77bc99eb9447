"""Where settings come from: constructor, environment, config file, default, by the rules of the command."""

from __future__ import annotations

import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import tollgate
from conftest import Stack
from tollgate import AsyncTollgate, Tollgate
from tollgate._profile import load_profile
from tollgate._settings import Secret, SessionAt, Settings, resolve

CLIENTS = [Tollgate, AsyncTollgate]


def write(home: Path, text: str, mode: int = 0o600) -> Path:
    file = home / ".config" / "tollgate" / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def settings(given: Any = None, profile: Any = None, anonymous: bool = False) -> Settings:
    return resolve(given or {}, dict(os.environ), profile, anonymous)


def key_of(found: Settings) -> Any:
    return found.credential.expose() if isinstance(found.credential, Secret) else found.credential


def test_each_value_comes_from_the_highest_source_that_has_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings().url, settings().auth_url, settings().credential) == ("http://127.0.0.1:50052", "http://127.0.0.1:50051", None)
    default = "default: {key: of-file, url: 'http://file', auth_url: 'http://file-auth', model: m, account: a}\n"
    write(home, default + "work: {url: 'http://work'}\n")
    found = settings()
    assert (found.url, found.auth_url, found.model, found.account) == ("http://file", "http://file-auth", "m", "a")
    assert key_of(found) == "of-file"
    monkeypatch.setenv("TOLLGATE_URL", "http://variable")
    monkeypatch.setenv("TOLLGATE_API_KEY", "of-variable")
    monkeypatch.setenv("TOLLGATE_AUTH_URL", "")
    monkeypatch.setenv("TOLLGATE_MODEL", "of-variable")
    found = settings()
    assert (found.url, found.auth_url, found.model, key_of(found)) == ("http://variable", "http://file-auth", "of-variable", "of-variable")
    found = settings({"url": "http://argument", "key": Secret("of-argument"), "model": ""})
    assert (found.url, found.model, key_of(found)) == ("http://argument", "of-variable", "of-argument")
    monkeypatch.delenv("TOLLGATE_URL")
    assert settings(profile="work").url == "http://work" and settings(profile="work").auth_url == "http://127.0.0.1:50051"
    monkeypatch.setenv("TOLLGATE_PROFILE", "work")
    assert settings().url == "http://work" and settings(profile="default").url == "http://file"


def test_a_key_or_a_session_of_a_higher_source_wins_over_both_of_a_lower(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "default: {session: mine}\nkeyed: {key: k}\n")
    assert settings().credential == SessionAt(home / ".config/tollgate/mine")
    monkeypatch.setenv("TOLLGATE_SESSION", "s")
    assert settings(profile="keyed").credential == SessionAt(Path("s"))
    monkeypatch.setenv("TOLLGATE_API_KEY", "k")
    assert key_of(settings()) == "k", "of the two variables, the key counts"
    assert settings({"session": "given"}).credential == SessionAt(Path("given"))
    with pytest.raises(tollgate.ConfigurationError, match="a key or a session, not both"):
        settings({"session": "s", "key": Secret("k")})
    assert settings(anonymous=True).credential is None
    for name in ("TOLLGATE_API_KEY", "TOLLGATE_SESSION"):
        monkeypatch.delenv(name)
    kept = home / ".local/state/tollgate/sessions/bare"
    kept.parent.mkdir(parents=True)
    kept.touch()
    write(home, "bare:\nkeyed: {key: k}\n")
    assert settings(profile="bare").credential == SessionAt(kept, kept=True) and key_of(settings(profile="keyed")) == "k"


def test_the_file_is_where_the_command_has_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "default: {url: 'http://home'}\n")
    assert settings().url == "http://home"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert settings().url == "http://home", "a relative one is ignored"
    folder = tmp_path / "xdg"
    (folder / "tollgate").mkdir(parents=True)
    (folder / "tollgate" / "config.yaml").write_text("default: {url: 'http://xdg', ca: ca.pem, client_key: ~/key.pem}\n")
    (folder / "tollgate" / "config.yaml").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    found = settings()
    assert (found.url, found.ca, found.client_key) == ("http://xdg", str(folder / "tollgate/ca.pem"), str(home / "key.pem"))
    monkeypatch.setenv("TOLLGATE_CONFIG", str(tmp_path / "missing.yaml"))
    assert settings().url == "http://127.0.0.1:50052", "a file that isn't there is an empty one"
    monkeypatch.setenv("TOLLGATE_CONFIG", "/dev/null")
    assert settings().url == "http://127.0.0.1:50052"
    monkeypatch.delenv("TOLLGATE_CONFIG")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    for home_ in ("", "relative"):
        monkeypatch.setenv("HOME", home_)
        assert settings().url == "http://127.0.0.1:50052"


def test_a_file_that_others_can_read_is_refused_with_what_to_do(home: Path) -> None:
    for mode in (0o640, 0o604, 0o620, 0o601):
        file = write(home, "default: {key: canary-key}\n", mode)
        with pytest.raises(tollgate.ConfigurationError) as refused:
            Tollgate()
        assert str(refused.value) == f"{file} can be read by others than its owner: chmod 600 {file}"
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(tollgate.ConfigurationError, match="is no file"):
        Tollgate()
    file.unlink()
    file.mkdir(mode=0o700)
    with pytest.raises(tollgate.ConfigurationError, match="is no file"):
        Tollgate()


def test_another_users_file_is_refused(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(write(home, "default: {}\n"), 12_345, -1)
    with pytest.raises(tollgate.ConfigurationError, match="is another user's"):
        Tollgate()


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(home: Path) -> None:
    assert load_profile("default", dict(os.environ)).values == {}
    with pytest.raises(tollgate.ConfigurationError, match="there is no profile 'x' in .*; it has none"):
        Tollgate(profile="x")
    write(home, "b: {}\na: {}\n")
    with pytest.raises(tollgate.ConfigurationError, match="it has a, b"):
        Tollgate(profile="x")


WRONG = {
    "a: {keys: canary}": 'line 1: unknown field "keys" of profile "a"; known: account, auth_url, ca, client_certificate, client_key, key, ',
    "a:\n  url: 'http://h'\n  key: [canary]": "line 3: key must be text",
    "a:\n  key: {b: canary}": "line 2: key must be text",
    "a:\n  account: 0123": "line 2: account must be text: put it in quotes",
    "a: {key: true}": "put it in quotes",
    "a: {key: null}": "put it in quotes",
    "a: {key: 1.5e3}": "put it in quotes",
    "a: {key: 0x1F}": "put it in quotes",
    "a: {key: .inf}": "put it in quotes",
    "a: {key: k, session: s}": "line 1: a profile has a key or a session, not both",
    "a: {key: k, key: l}": "line 1: the field 'key' is there twice",
    "a: {}\na: {}": "line 2: the profile 'a' is there twice",
    "a: {}\nA: {}": "line 2: another profile differs from 'A' only in upper and lower case",
    "a: &x {}\nb: {}": "line 1: anchors and aliases are not taken",
    "a: !!map {}": "line 1: tags are not taken",
    "a: {key: !x canary}": "line 1: tags are not taken",
    "a: {<<: {}}": "line 1: merge keys are not taken",
    "a: {}\n---\nb: {}": "line 2: a second document",
    "- a": "line 1: there must be a mapping",
    "text": "line 1: there must be a mapping",
    "a: text": "line 1: the profile 'a' must be a mapping of fields",
    "a b: {}": "line 1: a profile's name is",
    "a.lock: {}": "line 1: a profile's name is",
    "-a: {}": "line 1: a profile's name is",
    "? [a]\n: {}": "line 1: a profile's name must be text",
    'a: {key: "canary\\nx"}': "line 1: key holds a line break",
    "a: {key: canary": "line 1: this is not YAML",
    "a:\n\tkey: canary": "line 2: this is not YAML",
    "a: {key: canary\x07}": "characters that YAML doesn't allow",
    "a: {" + "x" * (64 << 10) + ": canary}": "is longer than 64 KiB",
}


@pytest.mark.parametrize("text", WRONG, ids=[f"case{number}" for number in range(len(WRONG))])
def test_what_a_config_file_cannot_say_is_refused_with_its_line_and_without_its_values(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(tollgate.ConfigurationError) as refused:
        Tollgate(profile="default")
    assert WRONG[text] in str(refused.value) and "canary" not in str(refused.value)


def test_what_a_config_file_may_say_is_taken(home: Path) -> None:
    file = write(home, "\ufeff---\r\n# mine\r\nwork:\r\n  key: yes\r\n  account: \"0123\"\r\n  url: ''\r\n  model:\r\nempty:\r\n")
    found = load_profile("work", dict(os.environ))
    assert (dict(found.values), found.file) == ({"key": "yes", "account": "0123"}, file)
    assert load_profile("empty", dict(os.environ)).values == {}
    for text in ("", "# nothing\n", "---\n"):
        write(home, text)
        assert load_profile(None, dict(os.environ)).values == {}
    file.write_bytes(b"a: {key: \xff}")
    with pytest.raises(tollgate.ConfigurationError, match="is not UTF-8"):
        load_profile(None, dict(os.environ))


def test_a_key_in_the_keychain_is_asked_for_by_profile_and_its_absence_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "work: {key: keychain}\n")
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(tollgate.ConfigurationError, match=r"needs the package keyring: pip install 'tollgate-client\[keychain\]'"):
        Tollgate(profile="work")
    # As the package behaves: what stands in its place is this machine's keychain, which tests have none of.
    keychain = types.ModuleType("keyring")
    there = {("tollgate", "work"): "canary-key"}
    monkeypatch.setattr(keychain, "get_password", lambda service, user: there.get((service, user)), raising=False)
    monkeypatch.setitem(sys.modules, "keyring", keychain)
    assert key_of(settings(profile="work")) == "canary-key"
    there.clear()
    with pytest.raises(tollgate.ConfigurationError, match="the keychain has no key for profile 'work'"):
        Tollgate(profile="work")
    assert key_of(settings({"key": Secret("keychain")}, "work")) == "keychain", "the word means it in a profile alone"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_profile_is_all_that_a_program_needs(stack: Stack, home: Path, client: Any) -> None:
    import asyncio

    person = stack.person()
    write(home, f"default: {{key: {person.key()}, url: '{stack.url}', auth_url: '{stack.auth_url}', model: stand-in}}\n")
    if client is Tollgate:
        with Tollgate() as made:
            assert made.chat(None, "Hi.", max_tokens=1).text == "word0 "
    else:

        async def ask() -> str:
            async with AsyncTollgate() as made:
                return (await made.chat(None, "Hi.", max_tokens=1)).text

        assert asyncio.run(ask()) == "word0 "


@pytest.mark.parametrize("client", CLIENTS)
def test_what_cannot_be_sent_is_refused_before_anything_is(client: Any) -> None:
    for wrong in ("ftp://host", "http://", "https://", "http://host/prefix", "http://me:canary@host", "http://a b", "http://host:port"):
        with pytest.raises(tollgate.ConfigurationError, match="^the URL of inference-service ") as refused:
            client(url=wrong)
        assert "canary" not in str(refused.value)
    for given, example in ({"url": "http://a b"}, "http://127.0.0.1:50052"), ({"auth_url": "http://a b"}, "http://127.0.0.1:50051"):
        with pytest.raises(tollgate.ConfigurationError, match=f"should look like {example}$"):
            client(**given)
    for given in ({"key": "canary key"}, {"key": "canary\n"}, {"account": "a b"}, {"client_key": "k.pem"}):
        with pytest.raises(tollgate.ConfigurationError) as refused:
            client(**given)
        assert "canary" not in str(refused.value)
    for right in ("localhost:1", "http://[::1]:1/", "https://tollgate.example", "https://[::1]:1"):
        client(url=right)


@pytest.mark.parametrize("client", CLIENTS)
def test_plaintext_beyond_this_host_is_warned_of_where_the_client_is_made(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for here in ("http://127.0.0.1:1", "http://[::1]:1", "http://LOCALHOST:1", "http://[::ffff:127.0.0.1]:1", "https://192.0.2.1:1"):
            client(url=here, auth_url=here)
    for beyond in ("http://192.0.2.1:50052", "http://localhost.example:1", "http://[2001:db8::1]:1"):
        with pytest.warns(tollgate.PlaintextWarning, match="is called without TLS") as warned:
            client(url=beyond)
        assert [each.filename for each in warned] == [__file__]
    monkeypatch.setenv("TOLLGATE_ALLOW_PLAINTEXT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client(url="http://192.0.2.1:50052")
