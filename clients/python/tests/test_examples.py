"""examples/python as people run them, and the lines of docs/python.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Stack
from test_notebook import USER_CODE, Notebook

EXAMPLES = ROOT / "examples" / "python"


def run(name: str, *arguments: str, key: str, stack: Stack) -> Any:
    environment = {**os.environ, "TOLLGATE_API_KEY": key, "TOLLGATE_URL": stack.url, "TOLLGATE_AUTH_URL": stack.auth_url}
    return subprocess.run([sys.executable, EXAMPLES / name, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_the_example_prints_the_answer_and_what_it_cost_and_says_why_it_can_not(stack: Stack) -> None:
    """stubs.py needs stubs of its own: scripts/test-examples makes and runs them."""
    person = stack.person(1)
    key = person.key()
    done = run("chat.py", "stand-in", "Hi.", key=key, stack=stack)
    assert done.returncode == 0 and done.stdout.startswith("word0 word1 ") and "charged, 0 left" in done.stderr, done.stderr
    done = run("chat.py", "stand-in", "Hi.", key=key, stack=stack)
    assert done.returncode != 0 and "credits" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_the_example_of_many_questions_adds_up(stack: Stack) -> None:
    person = stack.person(10)
    done = run("many_at_once.py", "stand-in", "One?", "Two?", "Three?", key=person.key(), stack=stack)
    assert done.returncode == 0 and "3 credits for 3 answers, 7 left" in done.stdout, done.stderr


def test_examples_are_under_sixty_lines() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert len(lines) >= 3 and max(lines.values()) < 60, lines


def test_the_example_notebook_names_each_cell_as_its_format_asks() -> None:
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [each.get("id", "") for each in notebook["cells"]]
    assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) for name in names) and len(set(names)) == len(names), names


def test_the_example_notebook_runs_from_top_to_bottom(stack: Stack, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = stack.person(10)
    monkeypatch.setenv("TOLLGATE_URL", stack.url)
    monkeypatch.setenv("TOLLGATE_AUTH_URL", stack.auth_url)
    cells = [each for each in json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"] if each["cell_type"] == "code"]
    assert all(each["outputs"] == [] for each in cells)
    notebook = Notebook(home, person)
    try:
        for cell in cells:
            notebook.run("".join(cell["source"]), stdin=False)
    finally:
        notebook.stop()
    assert not [each for each in notebook.shown if each["msg_type"] == "error"], notebook.outputs()
    assert "1 credit charged, 9 left" in notebook.outputs() and f"Signed in as {person.name}." in notebook.outputs()


@pytest.mark.parametrize("page", ["python", "notebook"])
def test_the_lines_of_the_documentation_work(page: str, stack: Stack, home: Path, tmp_path: Path) -> None:
    """Each block of Python of the page, one after the other, as one program. Somebody approves the sign-ins that it shows."""
    person = stack.person(50)
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = [block for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if language == "python"]
    assert len(blocks) > 2
    organization = person.here.organizations.create("documented")
    here = {"llama3.2": "capable", "nomic-embed-text": "embedder", '"tg_…"': repr(person.key())}
    here['account="…"'] = f"account={organization.account_id!r}"
    program = "\n".join(blocks)
    for named, there in here.items():
        program = program.replace(named, there)
    file = tmp_path / "documented.py"
    file.write_text(program)
    environment = {**os.environ, "TOLLGATE_URL": stack.url, "TOLLGATE_AUTH_URL": stack.auth_url}
    said = ""
    with subprocess.Popen([sys.executable, file], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            said += line
            for code in USER_CODE.findall(line):
                person.approve(code)
    assert process.returncode == 0, said
