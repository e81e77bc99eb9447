"""Where each setting comes from: the constructor before the environment, that before the profile of the config file."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Mapping, Optional, Tuple, Union

from ._bases import ConfigurationError
from ._profile import Profile, kept_session_file, load_profile
from ._secret import Secret, is_sendable

AUTH_URL = "http://127.0.0.1:50051"
INFERENCE_URL = "http://127.0.0.1:50052"
#: Of each setting, the variable. The names are those of the constructor and of the config file.
VARIABLES = {
    "url": "TOLLGATE_URL",
    "auth_url": "TOLLGATE_AUTH_URL",
    "account": "TOLLGATE_ACCOUNT",
    "model": "TOLLGATE_MODEL",
    "ca": "TOLLGATE_CA",
    "client_certificate": "TOLLGATE_CLIENT_CERTIFICATE",
    "client_key": "TOLLGATE_CLIENT_KEY",
}
#: A profile's key that stands for the one in the operating system's keychain.
KEYCHAIN = "keychain"
#: What the command calls its entries there; the user is the profile's name.
KEYCHAIN_SERVICE = "tollgate"

Given = Mapping[str, Optional[Union[str, "os.PathLike[str]", Secret]]]


class Environment(Dict[str, str]):
    """Variables, which tracebacks don't show."""

    def __repr__(self) -> str:
        return "Environment(…)"

    @classmethod
    def of_process(cls) -> Environment:
        return cls(os.environ)


@dataclass(frozen=True)
class SessionAt:
    """A session that a file keeps."""

    path: Path
    #: Whether it is the one that `tollgate login` keeps for a profile, which is good for one server alone.
    kept: bool = False


@dataclass(frozen=True)
class Settings:
    """What a client is made of. `repr` shows no credential."""

    url: str
    auth_url: str
    account: Optional[str]
    model: Optional[str]
    ca: Optional[str]
    client_certificate: Optional[str]
    client_key: Optional[str]
    profile: str
    credential: Optional[Union[Secret, SessionAt]] = field(repr=False, default=None)


def resolve(given: Given, environment: Mapping[str, str], profile_name: Optional[str], anonymous: bool = False) -> Settings:
    """Takes each value from the highest source that has it; what is empty counts as unset. `anonymous`: for a sign-in, which needs no
    credential, so that none is looked for."""
    profile = load_profile(profile_name, environment)
    arguments: Dict[str, Union[str, Secret]] = {}
    for name, each in given.items():
        text = each if each is None or isinstance(each, Secret) else os.fspath(each)
        if text:
            arguments[name] = text

    def value(name: str) -> Optional[str]:
        given_here = arguments.get(name)
        text = given_here if isinstance(given_here, str) else None
        return text or environment.get(VARIABLES[name]) or profile.values.get(name)

    account = value("account")
    if account and not is_sendable(account):
        raise ConfigurationError("the account must be an account's id: visible ASCII characters only")
    auth_url = value("auth_url") or AUTH_URL
    return Settings(
        url=value("url") or INFERENCE_URL,
        auth_url=auth_url,
        account=account,
        model=value("model"),
        ca=value("ca"),
        client_certificate=value("client_certificate"),
        client_key=value("client_key"),
        profile=profile.name,
        credential=None if anonymous else credential(arguments, environment, profile),
    )


def credential(
    arguments: Mapping[str, Union[str, Secret]], environment: Mapping[str, str], profile: Profile
) -> Optional[Union[Secret, SessionAt]]:
    """That of the highest source that has any."""
    key, session = arguments.get("key"), arguments.get("session")
    if key and session:
        raise ConfigurationError("give a key or a session, not both")
    if key:
        return secret(key)
    if isinstance(session, str):
        # As `login` writes it: no shell has seen the name.
        return SessionAt(Path(session).expanduser())
    # Of the two variables the key counts, as it does for the command.
    if environment.get("TOLLGATE_API_KEY"):
        return secret(Secret(environment["TOLLGATE_API_KEY"]))
    if environment.get("TOLLGATE_SESSION"):
        return SessionAt(Path(environment["TOLLGATE_SESSION"]))
    if profile.values.get("key") == KEYCHAIN:
        return from_keychain(profile.name)
    if profile.values.get("key"):
        return secret(Secret(profile.values["key"]))
    if profile.values.get("session"):
        return SessionAt(Path(profile.values["session"]))
    kept = kept_session_file(environment, profile.name)
    return SessionAt(kept, kept=True) if kept and os.path.lexists(kept) else None


def secret(key: Union[str, Secret]) -> Secret:
    found = key if isinstance(key, Secret) else Secret(key)
    if not is_sendable(found.expose()):
        raise ConfigurationError("the key must be an API key or an access token: visible ASCII characters only")
    return found


def from_keychain(profile: str) -> Secret:
    """The key of a profile that says `key: keychain`."""
    why: Optional[str] = None
    found: Tuple[Secret, ...] = ()
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        raise ConfigurationError(
            f"the key of profile {profile!r} is in the keychain, which needs the package keyring: pip install 'tollgate-client[keychain]'"
        ) from None
    try:
        text = keyring.get_password(KEYCHAIN_SERVICE, profile)
        found = (secret(text),) if text else ()
        del text
    except ConfigurationError:
        why = "what is there is no key"
    except Exception as error:  # Each system's keychain has errors of its own.
        why = type(error).__name__
    if why:
        raise ConfigurationError(f"the key of profile {profile!r} can't be had from the keychain: {why}")
    if not found:
        raise ConfigurationError(f"the keychain has no key for profile {profile!r}")
    return found[0]
