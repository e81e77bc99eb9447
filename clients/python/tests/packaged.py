"""The package, built as whoever publishes it builds it, and installed as people install it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, Sequence

PACKAGE = Path(__file__).resolve().parents[1]
# As it was at the start: other tests change theirs meanwhile. Of our package, nothing is to be found by chance.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}


def run(command: Sequence[Any], **settings: Any) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=300, env=ENVIRONMENT, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: Any) -> str:
    return run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments])


class Built:
    """An sdist, a wheel that was built from it, and a Python that has only that."""

    def __init__(self, folder: Path) -> None:
        before = listing()
        run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=PACKAGE)
        [self.sdist] = folder.glob("*.tar.gz")
        # In an environment of its own: what it needs to be built, it says itself.
        pip("wheel", "--no-deps", "--wheel-dir", folder, self.sdist)
        [self.wheel] = folder.glob("*.whl")
        self.changed = before ^ listing()
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        venv.create(folder / "environment", with_pip=False)
        self.python = folder / "environment" / "bin" / "python"
        [site] = (folder / "environment" / "lib").glob("python*/site-packages")
        pip("install", "--target", site, self.wheel)


def listing() -> set[str]:
    """What is there, beside what an editable install puts there and git doesn't see."""
    files = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "."], cwd=PACKAGE)
    return {f"{name} {(PACKAGE / name).stat().st_mtime_ns}" for name in files.splitlines()}
