"""The package as people get it: built from its sdist, in an environment of its own, used from another folder."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Stack
from packaged import PACKAGE, Built, run

PROGRAM = Path(__file__).parent / "a_users_program.py"


def test_the_sdist_carries_the_contract_and_a_build_changes_nothing_in_the_sources(built: Built) -> None:
    with tarfile.open(built.sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    contract = {f"contract/{path.relative_to(ROOT / 'proto').as_posix()}" for path in (ROOT / "proto").rglob("*.proto")}
    assert contract <= names and not [name for name in names if "_pb2" in name or name.endswith("_reasons.py")]
    assert {"LICENSE-APACHE", "LICENSE-MIT"} <= names and built.changed == set()


def test_the_wheel_has_stubs_types_and_three_dependencies(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as opened:
        names = set(opened.namelist())
        [metadata] = [opened.read(name).decode() for name in names if name.endswith("/METADATA")]
    for module in ("auth/v1/accounts_pb2", "auth/v1/accounts_pb2_grpc", "inference/v1/inference_pb2", "inference/v1/inference_pb2_grpc"):
        assert {f"tollgate/{module}.py", f"tollgate/{module}.pyi"} <= names
    assert {"tollgate/py.typed", "tollgate/_reasons.py"} <= names
    assert {"LICENSE-APACHE", "LICENSE-MIT"} <= {name.rpartition("/")[2] for name in names}
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
