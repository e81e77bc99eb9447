"""The package as people get it: built from its sdist, in an environment of its own, used from another folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any, Sequence

import pytest
from conftest import ROOT, Stack

PACKAGE = ROOT / "clients" / "python"
PROGRAM = Path(__file__).parent / "a_users_program.py"


def run(command: Sequence[Any], **settings: Any) -> str:
    # Of our package, nothing is to be found by chance.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=300, env=environment, **settings)
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("built"))


def test_the_sdist_carries_the_contract_and_a_build_changes_nothing_in_the_sources(built: Built) -> None:
    with tarfile.open(built.sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    contract = {f"contract/{path.relative_to(ROOT / 'proto').as_posix()}" for path in (ROOT / "proto").rglob("*.proto")}
    assert contract <= names and not [name for name in names if "_pb2" in name or name.endswith("_reasons.py")]
    assert built.changed == set()


def test_the_wheel_has_stubs_types_and_three_dependencies(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as opened:
        names = set(opened.namelist())
        [metadata] = [opened.read(name).decode() for name in names if name.endswith("/METADATA")]
    for module in ("auth/v1/accounts_pb2", "auth/v1/accounts_pb2_grpc", "inference/v1/inference_pb2", "inference/v1/inference_pb2_grpc"):
        assert {f"tollgate/{module}.py", f"tollgate/{module}.pyi"} <= names
    assert {"tollgate/py.typed", "tollgate/_reasons.py"} <= names
    needed = re.findall(r"^Requires-Dist: (\w+)[^;\n]*$", metadata, re.MULTILINE)
    assert sorted(each.lower() for each in needed) == ["grpcio", "protobuf", "pyyaml"]


def test_it_is_used_from_another_folder(built: Built, stack: Stack) -> None:
    person = stack.person(5)
    chat = "tollgate.Tollgate(sys.argv[1], url=sys.argv[2]).chat('stand-in', 'Hi.', max_tokens=2)"
    code = f"import sys, tollgate\nprint({chat}.text, tollgate.__file__)"
    said = run([built.python, "-c", code, person.key(), stack.url], cwd=built.folder)
    assert said.startswith("word0 word1") and str(built.python.parent.parent) in said


def test_mypy_finds_nothing_in_a_users_program_at_its_strictest(built: Built) -> None:
    pytest.importorskip("mypy")
    options = ["--strict", "--cache-dir", os.devnull, "--python-executable", built.python]
    run([sys.executable, "-m", "mypy", *options, PROGRAM], cwd=built.folder)


def test_mypy_finds_nothing_in_the_package_itself(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    import tollgate

    sources = Path(tollgate.__file__).parent
    options = ["--strict", "--cache-dir", os.devnull, "--exclude", "_pb2"]
    run([sys.executable, "-m", "mypy", *options, sources], cwd=tmp_path)


def test_pyright_finds_nothing_in_a_users_program_at_its_strictest(built: Built) -> None:
    pytest.importorskip("pyright")
    if not shutil.which("node"):
        pytest.skip("pyright needs Node, and there is none")
    shutil.copy(PROGRAM, built.folder)
    (built.folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    said = run([sys.executable, "-m", "pyright", "--pythonpath", built.python], cwd=built.folder)
    assert "0 errors, 0 warnings" in said


def test_nothing_generated_is_committed() -> None:
    files = run(["git", "ls-files", "."], cwd=PACKAGE).splitlines()
    assert "src/tollgate/client.py" in files and not [name for name in files if "_pb2" in name or "_reasons" in name]
