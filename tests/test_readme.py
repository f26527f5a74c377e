"""The README's commands run as they stand there, against the built samples."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import duckdb
import pytest

from tests.conftest import ROOT, run

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
# Made by make or by the user's own sources; the rest runs here.
ELSEWHERE = ("make ", "source ", "memoirist build book.pdf", "memoirist chat$", "memoirist doctor")
# It reads what another command has written: tests/flows/test_validate.py tries it.
ELSEWHERE += ("memoirist validate",)
# They serve until Ctrl-C: tests/flows/test_web.py tries them.
ELSEWHERE += ("memoirist serve-model", "memoirist web")
HERE = [c for c in COMMANDS if not any(re.match(each, c) for each in ELSEWHERE)]


QUERIES = [
    query.strip()
    for block in re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    for query in block.split(";\n")
    if query.strip()
]


def test_the_readme_names_every_command() -> None:
    from memoirist.flows.cli.main import COMMANDS, HIDDEN

    for name in COMMANDS.keys() - HIDDEN:
        assert re.search(rf"\b{name}\b", README), name
    for target in ("quickstart", "test"):
        assert f"\n{target}: " in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("command", HERE)
def test_a_command_of_the_readme_runs(built: Path, command: str) -> None:
    name, *arguments = shlex.split(command)
    assert name == "memoirist"
    done = run(built, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout or "export" in arguments


def test_the_readme_has_ten_queries() -> None:
    assert len(QUERIES) >= 10
    assert all(query.startswith("-- ") for query in QUERIES)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_readme_finds_rows(composed: Path, query: str) -> None:
    path = composed / "workspace" / "memoirist.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute(query).fetchall()
    done = run(composed, "sql", query, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_the_doctor_tells_every_finding_with_a_next_step(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:3] == ["state", "what", "finding"]
    findings = json.loads(run(tmp_path, "doctor", "--format", "json").stdout)
    checked = {finding["what"] for finding in findings}
    assert {"python", "torch", "4-bit", "endpoint", "hub", "memory", "disk"} <= checked
    assert all(finding["state"] == "ok" or finding["next_step"] for finding in findings)


def test_the_printed_recipe_of_the_readme_loads(tmp_path: Path) -> None:
    from memoirist.flows.recipe import load

    (toml,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "recipe.toml"
    path.write_text(toml, "utf-8")
    assert load(path).persona.name == "Ada Marrow"
