"""TLS: whose certificates are trusted, and what a client shows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
import tollgate
from conftest import PASSWORD, PROGRAMS, Stack, started


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "others"):
        subprocess.run([str(PROGRAMS / "tollgate"), "tls", "make-certificates", str(folder / name)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def secured(upstream: str, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    ours = certificates / "ours"
    settings = {"certificates": ours, "TOLLGATE_TLS_CLIENT_CA": str(ours / "public/ca.pem")}
    with started(tmp_path_factory.mktemp("tls"), upstream, **settings) as running:
        yield running


def test_an_authority_is_trusted_by_its_file_and_by_the_systems_own_setting(
    secured: Stack, certificates: Path, client_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = certificates / "ours/public/ca.pem"
    at: dict[str, Any] = {"url": secured.url, "auth_url": secured.auth_url}
    with client_class.login("operator", PASSWORD, ca=ca, **at) as client:
        assert client.chat("stand-in", "Hi.", max_tokens=1).text == "word0 "
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    with client_class.login("operator", PASSWORD, **at) as client:
        assert client.me().role == "admin"


def test_a_server_whose_authority_is_unknown_gets_no_password(secured: Stack, certificates: Path, client_class: Any) -> None:
    at: dict[str, Any] = {"url": secured.url, "auth_url": secured.auth_url, "max_retries": 0}
    for settings in ({}, {"ca": certificates / "others/public/ca.pem"}):
        with pytest.raises(tollgate.Unreachable, match="(?i)certificate|handshake"):
            client_class.login("operator", PASSWORD, **at, **settings)


def test_a_client_certificate_is_shown_and_a_foreign_one_is_refused(secured: Stack, certificates: Path, client_class: Any) -> None:
    at: dict[str, Any] = {"url": secured.url, "auth_url": secured.auth_url, "ca": certificates / "ours/public/ca.pem", "max_retries": 0}

    def shown(whose: str) -> dict[str, Path]:
        folder = certificates / whose / "inference-service"
        return {"client_certificate": folder / "certificate.pem", "client_key": folder / "key.pem"}

    with client_class.login("operator", PASSWORD, **at, **shown("ours")) as client:
        assert client.me().role == "admin"
    with pytest.raises(tollgate.TransportError):
        client_class.login("operator", PASSWORD, **at, **shown("others"))


def test_files_that_are_none_are_refused_when_the_client_is_made(certificates: Path, tmp_path: Path, client_class: Any) -> None:
    ours = certificates / "ours"
    (tmp_path / "text").write_text("canary")
    good = {"client_certificate": ours / "inference-service/certificate.pem", "client_key": ours / "inference-service/key.pem"}
    for settings, why in (
        ({"ca": tmp_path / "missing"}, "can't be read: No such file"),
        ({"ca": tmp_path / "text"}, "holds no certificate in PEM"),
        ({"ca": tmp_path}, "can't be read"),
        ({**good, "client_key": ours / "auth-service/key.pem"}, "are no certificate and its key"),
        ({**good, "client_certificate": tmp_path / "text"}, "are no certificate and its key"),
        ({"client_key": ours / "auth-service/key.pem"}, "a client certificate needs its key, and a key its certificate"),
    ):
        with pytest.raises(tollgate.ConfigurationError, match=why) as refused:
            client_class(url="https://127.0.0.1:1", **settings)
        assert "canary" not in str(refused.value)
