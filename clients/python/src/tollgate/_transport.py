"""How a service is reached: its URL, its certificate, and gRPC's own settings."""

from __future__ import annotations

import ipaddress
import os
import ssl
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

import grpc

from ._bases import ConfigurationError
from ._settings import AUTH_URL, INFERENCE_URL, Settings

VERSION = "0.1.0"
AUTH_SERVICE = "auth-service"
INFERENCE_SERVICE = "inference-service"


class PlaintextWarning(UserWarning):
    """A service beyond this host is called without TLS."""


@dataclass(frozen=True)
class Endpoint:
    """A service's address."""

    service: str
    url: str
    target: str
    uses_tls: bool
    is_here: bool

    @classmethod
    def of(cls, service: str, url: str) -> Endpoint:
        """Refuses what would be ignored: a path, a user. The error doesn't repeat the URL, which could hold a password."""

        def refuse(why: str) -> ConfigurationError:
            return ConfigurationError(f"the URL of {service} {why}")

        example = AUTH_URL if service == AUTH_SERVICE else INFERENCE_URL
        whole = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(whole)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise refuse(f"can't be read; it should look like {example}") from None
        if parts.scheme not in ("http", "https"):
            raise refuse("must begin with https:// or http://")
        if not host or "@" in parts.netloc:
            raise refuse("must name a host, and no user")
        if any(character.isspace() or not character.isprintable() for character in url):
            raise refuse(f"can't be read; it should look like {example}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise refuse("must end after the port")
        uses_tls = parts.scheme == "https"
        shown = f"[{host}]" if ":" in host else host
        return cls(service, whole, f"{shown}:{port or (443 if uses_tls else 80)}", uses_tls, is_here(host))


def is_here(host: str) -> bool:
    """Whether it is this host itself."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@dataclass(frozen=True)
class Endpoints:
    """Both services, and what TLS with them needs."""

    auth: Endpoint
    inference: Endpoint
    credentials: Optional[grpc.ChannelCredentials]

    @classmethod
    def of(cls, settings: Settings) -> Endpoints:
        auth, inference = Endpoint.of(AUTH_SERVICE, settings.auth_url), Endpoint.of(INFERENCE_SERVICE, settings.url)
        if bool(settings.client_certificate) != bool(settings.client_key):
            raise ConfigurationError("a client certificate needs its key, and a key its certificate")
        uses_tls = auth.uses_tls or inference.uses_tls
        return cls(auth, inference, credentials(settings) if uses_tls else None)

    def warn_of_plaintext(self, allowed: bool) -> None:
        for url in sorted({each.url for each in (self.auth, self.inference) if not each.uses_tls and not each.is_here}):
            if not allowed:
                warnings.warn(
                    f"{url} is called without TLS: others on the way can read passwords and keys. Use https://, or say "
                    "TOLLGATE_ALLOW_PLAINTEXT=true",
                    PlaintextWarning,
                    stacklevel=frames_of_ours() + 1,
                )


def frames_of_ours() -> int:
    """How many frames of this package lead here: the caller before them is the one to be warned."""
    level, frame = 0, sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def credentials(settings: Settings) -> grpc.ChannelCredentials:
    """Files in PEM, read and checked now: gRPC would only log what is wrong with them."""
    roots = read(settings.ca) if settings.ca else system_roots()
    if settings.ca:
        try:
            ssl.create_default_context(cadata=roots.decode("ascii") if roots else "")
        except (ssl.SSLError, UnicodeDecodeError, ValueError):
            raise ConfigurationError(f"{settings.ca} holds no certificate in PEM") from None
    if not settings.client_certificate or not settings.client_key:
        return grpc.ssl_channel_credentials(roots)
    chain, key = read(settings.client_certificate), read(settings.client_key)
    try:
        # A key under a password would be asked for on the terminal.
        ssl.create_default_context().load_cert_chain(settings.client_certificate, settings.client_key, password="")
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(
            f"{settings.client_certificate} and {settings.client_key} are no certificate and its key in PEM, without a password"
        ) from None
    return grpc.ssl_channel_credentials(roots, key, chain)


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None


def system_roots() -> Optional[bytes]:
    """The authorities that the operating system trusts; None: those that gRPC brings, where the system's can't be found."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return read(paths.cafile)
    context = ssl.create_default_context()
    found = "".join(ssl.DER_cert_to_PEM_cert(each) for each in context.get_ca_certs(binary_form=True))
    if found or sys.platform == "win32":
        return found.encode() or None
    # A folder has a file for each authority, by its hash; many systems put all of them into one file too.
    bundle = Path(paths.capath or "/etc/ssl/certs") / "ca-certificates.crt"
    return bundle.read_bytes() if bundle.is_file() else None


def options_of(endpoint: Endpoint) -> List[Tuple[str, Any]]:
    options: Dict[str, Any] = {
        "grpc.primary_user_agent": f"tollgate-python/{VERSION}",
        # A stream may be silent for minutes while a model loads: pings tell that from a server that is gone.
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        # How long making a connection may take, and how soon the next try may follow.
        "grpc.min_reconnect_backoff_ms": 5_000,
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 5_000,
        # What this client repeats, it repeats by itself.
        "grpc.enable_retries": 0,
        # A connection of its own: another client of the process may have been left in another state, or by another certificate.
        "grpc.use_local_subchannel_pool": 1,
    }
    if endpoint.is_here:
        options["grpc.enable_http_proxy"] = 0
    return list(options.items())


def channel(endpoint: Endpoint, credentials: Optional[grpc.ChannelCredentials], module: Any) -> Any:
    """A channel of `grpc` or of `grpc.aio`, which connects at its first call."""
    if endpoint.uses_tls:
        return module.secure_channel(endpoint.target, credentials, options_of(endpoint))
    return module.insecure_channel(endpoint.target, options_of(endpoint))


def plaintext_is_allowed() -> bool:
    return os.environ.get("TOLLGATE_ALLOW_PLAINTEXT") == "true"
