"""The command line: help for every command, and one clear line for every bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.samples import PERSONA, SOURCES
from memoirist.data.store.store import FILE, Store
from memoirist.flows.cli.main import COMMANDS, HIDDEN
from memoirist.generators.settings import InterviewSettings
from tests.conftest import Command, environment, run

VISIBLE = sorted(COMMANDS.keys() - HIDDEN)
MEMOIR, INTERVIEW, EXCHANGES = (str(path) for path in SOURCES)
EDITH = ("--persona", PERSONA)


def _one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Assert that a command failed with one line of ours and return it."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("memoirist: ")]
    assert len(lines) == 1, done.stderr
    what, _, next_step = lines[0].removeprefix("memoirist: ").partition("; ")
    assert what
    assert next_step
    return lines[0]


def test_the_commands_are_the_designs() -> None:
    wanted = "build plan extract ask curate compose train merge evaluate refresh schedule chat look"
    assert set(VISIBLE) == {
        *wanted.split(), "sql", "export", "doctor", "rights", "withdraw", "calibrate", "push",
        "web", "serve-model", "validate", "diff",
    }  # fmt: skip


@pytest.mark.parametrize("command", VISIBLE)
def test_every_command_has_help(memoirist: Command, command: str) -> None:
    done = memoirist(command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert len(done.stdout) > 200


def test_a_flag_is_described_by_its_recipe_key(memoirist: Command) -> None:
    shown = " ".join(memoirist("build", "--help").stdout.split())
    fields = InterviewSettings.model_fields
    for key, flag in (("max_concurrency", "--max-concurrency"), ("budget_usd", "--budget-usd")):
        assert flag in shown
        assert str(fields[key].description) in shown
    assert "[default: 16] [1<=x<=4096]" in shown
    assert "--answers verbatim|polished" in shown
    assert "--ocr / --no-ocr" in shown


def test_the_version_is_the_packages(memoirist: Command) -> None:
    done = memoirist("--version")
    assert (done.returncode, done.stdout) == (0, f"memoirist {version('memoirist')}\n")


def test_former_names_are_hidden_and_still_work(memoirist: Command) -> None:
    assert not re.search(r"^  serve ", memoirist("--help").stdout, re.MULTILINE)
    assert "push" not in memoirist("models", "--help").stdout
    done = memoirist("serve")
    assert "is now `memoirist schedule`" in done.stderr
    assert "the recipe names no source" in _one_line(done, 1)
    assert "no workspace at" in _one_line(memoirist("models", "push", "1a2b", "me/ada"), 1)


def test_usage_errors_exit_with_2(memoirist: Command) -> None:
    for arguments in (["nothing"], ["sql"], ["look", "--limit", "0"], ["train", "--epochs", "x"]):
        done = memoirist(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def _pdf(path: Path, text: str = "") -> Path:
    canvas = Canvas(str(path))
    if text:
        canvas.drawString(72, 700, text)
    else:
        canvas.rect(100, 100, 300, 500, fill=1)
    canvas.showPage()
    canvas.save()
    return path


def _encrypted(folder: Path) -> Path:
    writer = PdfWriter(clone_from=PdfReader(_pdf(folder / "plain.pdf", "Some text.")))
    writer.encrypt("secret", algorithm="AES-256")
    writer.write(folder / "locked.pdf")
    return folder / "locked.pdf"


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "nothing here").mkdir()
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "corrupt.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 40)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text('{"messages": [\n', "utf-8")
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    return {
        "missing": tmp_path / "no such book.pdf",
        "folder": tmp_path / "nothing here",
        "empty": tmp_path / "empty.pdf",
        "corrupt": tmp_path / "corrupt.pdf",
        "image": _pdf(tmp_path / "image.pdf"),
        "encrypted": _encrypted(tmp_path),
        "no rows": tmp_path / "empty.jsonl",
        "no JSON": tmp_path / "broken.jsonl",
        "format": tmp_path / "song.mp3",
    }


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ("missing", "no such book.pdf"),
        ("folder", "nothing here"),
        ("empty", "empty"),
        ("corrupt", "corrupt.pdf"),
        ("image", "no text layer"),
        ("encrypted", "locked.pdf"),
        ("no rows", "empty"),
        ("no JSON", "broken.jsonl"),
        ("format", "song.mp3"),
    ],
)
def test_a_bad_source_is_one_line(
    memoirist: Command, bad: dict[str, Path], case: str, word: str
) -> None:
    assert word in _one_line(memoirist("extract", str(bad[case]), *EDITH), 1)


def test_a_workspace_before_a_subcommand_of_models_is_refused(memoirist: Command) -> None:
    done = memoirist("models", "-w", "mine", "list")
    assert done.returncode == 2
    assert "memoirist models list -w mine" in " ".join(done.stderr.split())
    assert "no workspace at 'mine'" in memoirist("models", "list", "-w", "mine").stderr


def test_a_bad_source_beside_a_good_one_is_a_verdict_and_a_warning(
    memoirist: Command, bad: dict[str, Path], tmp_path: Path
) -> None:
    done = memoirist("extract", str(bad["encrypted"]), str(bad["corrupt"]), EXCHANGES, *EDITH)
    assert done.returncode == 0, done.stderr
    assert "locked.pdf" in done.stderr
    rows = Store(tmp_path / "workspace" / "memoirist.duckdb").rows(
        "SELECT rule, next_step FROM dropped WHERE subject = 'sources' ORDER BY rule"
    )
    assert [row["rule"] for row in rows] == ["source_encrypted", "source_unreadable"]
    assert all(row["next_step"] for row in rows)
    coverage = json.loads(memoirist("look", "coverage", "--format", "json").stdout)
    assert all(row["found"] == row["kept"] + row["dropped"] for row in coverage)
    assert sum(row["dropped"] for row in coverage if row["subject"] == "sources") == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["build"], "no source"),
        (["build", EXCHANGES], "--persona"),
        (["look"], "no workspace"),
        (["sql", "SELECT 1"], "no workspace"),
        (["chat", "--message", "Hello?"], "no workspace"),
        (["chat", "--message", " "], "--message is empty"),
        (["export", "-o", "out.jsonl"], "no workspace"),
        (["train"], "no dataset"),
        (["merge"], "no dataset"),
        (["extract", EXCHANGES, "--recipe", "missing.toml"], "missing.toml"),
        (["extract", EXCHANGES, "--set", "train.rnak=3"], "rank"),
        (["extract", "hf://name"], "hf://name"),
        # A byte that is no UTF-8, as Python hands it over.
        (["build", EXCHANGES, "--persona", "Edith \udcff"], r"'Edith \udcff' is not UTF-8 text"),
        (["extract", EXCHANGES, "--set", "persona.aliases=['\udcff']"], "is not UTF-8 text"),
        (["train", "--data", EXCHANGES, "--persona", "\udcff"], "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_done_yet_says_what_to_do(
    memoirist: Command, arguments: list[str], word: str
) -> None:
    assert word in _one_line(memoirist(*arguments), 1)


@pytest.mark.parametrize(
    "arguments", ["curate", "merge", "train --show 2", "withdraw a.pdf", "push 1a2b me/ada"]
)
def test_a_mistyped_workspace_leaves_no_folder_behind(
    memoirist: Command, tmp_path: Path, arguments: str
) -> None:
    _one_line(memoirist(*arguments.split(), "-w", "workpsace"), 1)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(memoirist: Command) -> None:
    done = memoirist("look", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_recipe_with_a_misspelt_key(memoirist: Command, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[train]\nbase_modle = 'x'\n", "utf-8")
    line = _one_line(memoirist("build", EXCHANGES, *EDITH, "-r", "r.toml"), 1)
    assert "base_modle" in line
    assert "base_model" in line.replace("base_modle", "")


def test_a_workspace_in_use_is_refused(memoirist: Command, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from memoirist.flows.runtime.workspace import Workspace\n"
        "with Workspace(Path('workspace')).lock():\n"
        "    Path('ready').touch(); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment())
    try:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        line = _one_line(memoirist("extract", EXCHANGES, *EDITH), 1)
        assert str(holder.pid) in line
    finally:
        holder.kill()
        holder.wait()
    assert memoirist("extract", EXCHANGES, *EDITH).returncode == 0


def test_an_endpoint_that_refuses_stops_the_asking(memoirist: Command, tmp_path: Path) -> None:
    assert memoirist("extract", MEMOIR, *EDITH).returncode == 0
    line = _one_line(memoirist("ask", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"), 1)
    assert "127.0.0.1:9" in line
    # Nothing is lost, and what failed is not kept: the offline interviewer goes on.
    done = memoirist("ask")
    assert done.returncode == 0, done.stderr
    assert "offline interviewer" in done.stderr


def test_ctrl_c_is_one_line(memoirist: Command, tmp_path: Path) -> None:
    code = (
        "import os, signal, memoirist.flows.inspection as l; import memoirist.flows.cli.main as c\n"
    )
    # A shell's background job is born deaf to it.
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "def stop(*_): os.kill(os.getpid(), signal.SIGINT)\n"
    code += "l.show = stop; import sys; sys.argv = ['memoirist', 'look']; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "run the same command again" in _one_line(done, 130)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("look verdicts", 0),
        ("look verdicts -n 500 --format json", 0),
        ("look coverage --format csv", 0),
        ("plan --recipe-keys", 0),
        ("--version", 0),
        ("rights --check", 1),
        ("validate recipe.toml", 1),
    ],
)
def test_a_closed_pipe_is_no_error(extracted: Path, arguments: str, code: int) -> None:
    (extracted / "recipe.toml").write_text("no row", "utf-8")
    with Store(extracted / "workspace" / FILE).writing() as tx:
        tx.execute("UPDATE sources SET rights = 'unknown'")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "memoirist.flows.cli", *arguments.split()],
        cwd=extracted, env=environment(PYTHONUNBUFFERED=""), stdout=write, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == code
    assert "Error" not in done.stderr


def test_output_that_cannot_be_written_is_one_line(extracted: Path) -> None:
    command = [sys.executable, "-m", "memoirist.flows.cli", "look", "--format", "csv"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=extracted, env=environment(PYTHONUNBUFFERED=""), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert "No space left" in _one_line(done, 1)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.medium
def test_each_step_by_itself_and_again(memoirist: Command, tmp_path: Path) -> None:
    steps = [["extract", MEMOIR, INTERVIEW, EXCHANGES, *EDITH], ["ask"], ["curate"], ["compose"]]
    for step in steps:
        done = memoirist(*step)
        assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "workspace" / "memoirist.duckdb")
    tables = ["sources", "documents", "blocks", "passages", "questions", "pairs", "verdicts"]
    tables += ["conversations", "datasets"]
    before = {t: store.fetch(f"SELECT * FROM {t} ORDER BY ALL").rows for t in tables}
    assert all(before.values())
    for step in steps:
        done = memoirist(*step)
        assert done.returncode == 0, done.stderr
        assert "nothing" in done.stderr
    after = {t: store.fetch(f"SELECT * FROM {t} ORDER BY ALL").rows for t in tables}
    assert after == before
    _look_around(memoirist, store)


def _look_around(memoirist: Command, store: Store) -> None:
    pair = store.rows("SELECT id, question, answer FROM kept WHERE source LIKE 'Short%' LIMIT 1")[0]
    why = json.loads(memoirist("look", "why", pair["id"], "--format", "json").stdout)
    facts = {row["what"]: row["value"] for row in why}
    assert facts["question"] == pair["question"]
    assert facts["answer"] == pair["answer"]
    assert "page" in facts["location"]
    assert "memoir.pdf" in facts["source"]
    assert json.loads(memoirist("sql", "SELECT 1 AS one", "--format", "json").stdout) == [
        {"one": 1}
    ]
    csv = memoirist("sql", "SELECT 'a,b' AS x, NULL AS y", "--format", "csv").stdout
    assert csv == 'x,y\n"a,b",\n'
    numbers = "SELECT sum(7::BIGINT) AS n, 123456.789::DOUBLE AS d, 'nan'::DOUBLE AS x, 2 AS n"
    assert memoirist("sql", numbers, "--format", "csv").stdout == "n,d,x,n\n7,123456.789,nan,2\n"
    (row,) = json.loads(memoirist("sql", numbers, "--format", "json").stdout)
    assert row == {"n": 2, "d": 123456.789, "x": None}
    _one_line(memoirist("sql", "COPY (SELECT 1) TO 'out.csv'"), 1)
    _one_line(memoirist("sql", "ATTACH 'other.duckdb'"), 1)
    assert "verdicts" in memoirist("look").stdout
    for what in ("dropped", "coverage", "kept", "passages", "lineage"):
        assert memoirist("look", what).returncode == 0
    done = memoirist("export", "--format", "messages", "-o", "out.jsonl")
    assert done.returncode == 0
    assert done.stdout == ""
    lines = (store.path.parent.parent / "out.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == store.value("SELECT count(*) FROM conversations")
    assert all(json.loads(line)["messages"][-1]["role"] == "assistant" for line in lines)
    assert "there is no table or view" in _one_line(memoirist("look", "nowhere"), 1)
    assert "nothing has the id" in _one_line(memoirist("look", "why", "zzz"), 1)


def test_a_source_of_another_language_and_a_nameless_persona_are_told(
    memoirist: Command, tmp_path: Path
) -> None:
    told = (
        "Als ich noch ein Kind war, ging ich jeden Morgen mit meinem Vater hinunter zum Fluss, und"
        " wir saßen dort, bis die Sonne über den Häusern stand. "
    )
    (tmp_path / "b.md").write_text(f"# Der Fluss\n\n{told * 5}\n", "utf-8")
    done = memoirist("extract", "b.md", "--persona", "Ada", "--lang", "en")
    assert "none of its passages passes the gates, 1 of 1 dropped by 'language'" in done.stderr
    assert "name another with --lang" in done.stderr
    (tmp_path / "t.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:09.000\n<v Ann>Yes, I did.\n")
    done = memoirist("extract", "t.vtt", "-w", "other")
    assert "no persona is named" in done.stderr
    assert "name one of them with --persona" in done.stderr


def test_rows_that_are_not_shown_are_counted(composed: Path) -> None:
    done = run(composed, "look", "kept", "-n", "2")
    assert "2 of 145 rows; `-n 145` shows all" in done.stderr
    assert run(composed, "look", "coverage").stderr == ""
