"""The frame of all steps: due or done, rows and state in one transaction, one report line."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoirist.data.schema.records import Document, Run, Verdict
from memoirist.data.store.store import Store
from memoirist.flows.pipeline import MODEL, PAIRS, STEPS
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.base import Step, fingerprint, remove_rows
from tests.support.rows import NOW

DOCUMENT = Document(id="d", source_id="s", title="One", lang="en")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "ws"), load(None), Report(quiet=True))


def verdict(subject: str, step: str = "") -> Verdict:
    return Verdict(
        subject_id=subject, subject="blocks", rule="short", keep=False, reason="it is short",
        created_at=NOW, next_step="nothing", step=step,
    )  # fmt: skip


def run(name: str, status: str) -> Run:
    return Run(
        id=name, dataset_id="d", base_model="tiny", recipe="{}", seed=1, status=status,
        started_at=NOW,
    )  # fmt: skip


def count(context: Context, table: str) -> int:
    return int(context.workspace.store.value(f"SELECT count(*) FROM {table}"))


def test_a_step_is_due_until_it_has_finished_with_the_same_inputs(context: Context) -> None:
    step = Step(context, "split", "s", fingerprint("blocks", 1))
    assert not step.is_done  # there is no workspace yet
    with step.writing() as tx:
        tx.upsert([DOCUMENT])
    assert step.is_done
    assert not Step(context, "split", "s", fingerprint("blocks", 2)).is_done
    assert not Step(context, "split", "other", fingerprint("blocks", 1)).is_done
    assert not Step(context, "gate", "s", fingerprint("blocks", 1)).is_done
    assert not Step(context, "split", ["s", "other"], fingerprint("blocks", 1)).is_done


def test_an_error_writes_neither_rows_nor_state(context: Context) -> None:
    step = Step(context, "split", "s", fingerprint(1))

    def fail() -> None:
        with step.writing() as tx:
            tx.upsert([DOCUMENT])
            raise KeyError("rows")

    with pytest.raises(KeyError):
        fail()
    with Step(context, "other").writing() as tx:
        tx.upsert([verdict("b")])
    assert count(context, "documents") == 0
    assert not step.is_done


def test_rows_that_are_not_finished_remove_the_earlier_state(context: Context) -> None:
    before, now = (Step(context, "judge", fingerprint=fingerprint(n)) for n in (1, 2))
    with before.writing():
        pass
    with now.writing(finished=False) as tx:
        tx.upsert([DOCUMENT])
    assert count(context, "documents") == 1
    assert not before.is_done
    assert not now.is_done


def test_verdicts_replace_those_of_the_same_step_and_source(context: Context) -> None:
    first, second = (Step(context, "gate", source) for source in "ab")
    with first.writing() as tx:
        first.replace_verdicts(tx, [verdict("1"), verdict("2")], "a")
        second.replace_verdicts(tx, [verdict("3")], "b")
        first.replace_verdicts(tx, [verdict("2")], "a")
    rows = context.workspace.store.rows(
        "SELECT subject_id, step, source_id FROM verdicts ORDER BY 1"
    )
    assert [tuple(row.values()) for row in rows] == [("2", "gate", "a"), ("3", "gate", "b")]
    everything = Step(context, "gate")
    with everything.writing() as tx:
        everything.replace_verdicts(tx, [verdict("4")], {"4": "c"})
    assert context.workspace.store.value("SELECT string_agg(source_id) FROM verdicts") == "c"


def test_removing_rows_counts_once_and_a_second_time_changes_nothing(context: Context) -> None:
    step = Step(context, "polish", fingerprint=fingerprint(1))
    with step.writing() as tx:
        step.replace_verdicts(tx, [verdict("1")], {"1": "a"})
        tx.execute("INSERT INTO polished VALUES ('p', 'text', 0.1, 'r')")
    for changed in ({"polish": 1}, {}):
        context.changed.clear()
        remove_rows(context, "polish", "polish", "polished")
        assert context.changed == changed
    assert count(context, "polished") == count(context, "verdicts") == 0
    assert not step.is_done


def test_a_step_counts_and_reports_under_its_verb(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    context.report = Report()
    step = Step(context, "grade", verb="judge")
    assert step.call("by LLM", lambda: 7) == 7
    step.finish(3, "3 pairs kept")
    assert context.changed == {"judge": 3}
    assert "judge  3 pairs kept" in capsys.readouterr().err


def test_build_and_refresh_run_every_command_of_the_one_list() -> None:
    assert (*PAIRS, *MODEL) == tuple(STEPS)


def test_a_trained_run_of_an_older_workspace_is_not_trained_again(context: Context) -> None:
    path = context.workspace.store.path
    with Store(path).writing() as tx:
        tx.upsert([run("old", status="evaluated"), run("killed", status="training")])
        tx.execute("DELETE FROM migrations WHERE name = '024_step_state.sql'")
        tx.execute("DROP TABLE predictions")
    with Store(path).writing():
        pass
    assert Step(context, "train", "old", "old").is_done
    assert not Step(context, "train", "killed", "killed").is_done
