"""Signals, rules and scores are tables: pasted statements give them again, thresholds move."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from memoirist.data.curation import embeddings, rules
from memoirist.data.store.store import FILE, Store
from memoirist.data.store.transaction import Transaction, statement
from memoirist.flows.runtime.context import open_context
from memoirist.flows.steps.curate import curate_pairs
from memoirist.train.inference import sentence_model
from tests.conftest import run
from tests.support import curation, rows

TABLES = ("passage_signals", "pair_signals", "pair_scores")
PASTED = (
    *("passage_signals", "passage_gates", "pair_scopes", "pair_signals", "pair_scores"),
    "pair_rules",
)
_DECIDED = "SELECT subject_id, rule, keep, score, reason, beaten_by, next_step FROM verdicts"


def _rows(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    queries = {table: f"FROM {table} ORDER BY ALL" for table in TABLES}
    queries["verdicts"] = f"{_DECIDED} WHERE step IN ('gate', 'curate') ORDER BY ALL"
    return {name: connection.execute(sql).fetchall() for name, sql in queries.items()}


@pytest.mark.medium
def test_the_statements_pasted_into_a_bare_client_give_the_same_rows(curated: Path) -> None:
    with duckdb.connect(str(curated / "workspace" / FILE)) as connection:
        before = _rows(connection)
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "DELETE FROM verdicts WHERE step = 'gate' OR (step = 'curate' AND rule NOT IN"
            " ('superseded', 'not_chosen'))"
        )
        for name in PASTED:
            connection.execute(statement(name))
        after = _rows(connection)
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM passage_signals),"
            " (SELECT count(*) FROM pairs), (SELECT count(*) FROM pair_signals),"
            " (SELECT count(*) FROM pair_scores)"
        ).fetchone()
    assert counts is not None
    n_passages, n_measured, n_pairs, *scored = counts
    assert n_measured == n_passages
    assert scored == [n_pairs, n_pairs]
    for name in before:
        different = set(map(repr, before[name])) ^ set(map(repr, after[name]))
        assert not different, (name, sorted(different)[:4])


def test_scores_are_one_scale_and_real_questions_come_first(curated: Path) -> None:
    store = Store(curated / "workspace" / FILE)
    rows = store.rows(
        "SELECT origin, min(s.score) AS least, max(s.score) AS most, min(quality) AS quality,"
        " count(p.score) = count(*) AS shown FROM pair_scores s JOIN pairs p ON p.id = s.pair_id"
        " GROUP BY origin"
    )
    of = {row["origin"]: row for row in rows}
    assert {"spoken", "given", "template"} <= of.keys()
    assert all(row["shown"] and 0 <= row["quality"] <= 1 for row in rows)
    assert min(of["spoken"]["least"], of["given"]["least"]) >= 0.5 >= of["template"]["most"]
    assert store.value("SELECT value FROM thresholds WHERE name = 'gates.min_stop_share'") == 0.22


def test_a_rerun_changes_no_row(curated: Path) -> None:
    path = curated / "workspace" / FILE
    former = hashlib.sha256(path.read_bytes()).hexdigest()
    began = time.monotonic()
    done = run(curated, "curate")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stderr
    assert time.monotonic() - began < 3
    assert hashlib.sha256(path.read_bytes()).hexdigest() == former


def test_what_if_shows_what_goes_and_comes_and_changes_nothing(curated: Path) -> None:
    path = curated / "workspace" / FILE
    former = hashlib.sha256(path.read_bytes()).hexdigest()
    done = run(
        curated, "curate", "--what-if", "gates.min_stop_share=0.45", "--what-if", "min_score=0.6"
    )
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
    assert lines[0][:5] == ["change", "subject", "rule", "source", "n"]
    assert {"passages", "pairs"} == {line[1] for line in lines[1:] if line[0] == "goes"}
    assert {"few_stop_words", "low_score"} <= {line[2] for line in lines[1:] if len(line) > 2}
    assert hashlib.sha256(path.read_bytes()).hexdigest() == former
    form = ("--what-if", "gates.min_stop_share=0.45", "--format", "json")
    rows = json.loads(run(curated, "curate", *form).stdout)
    assert {"passages", "pairs"} == {row["subject"] for row in rows if row["change"] == "goes"}
    same = run(curated, "curate", "--what-if", "curate.gates.min_stop_share=0.22")
    assert "no passage or pair would change" in same.stderr
    assert "not applied here" not in done.stderr + same.stderr


def test_what_if_says_that_duplicates_and_the_llm_judge_are_not_run_again(
    curated: Path, tmp_path: Path
) -> None:
    shutil.copytree(curated / "workspace", tmp_path / "workspace")
    raised = run(tmp_path, "curate", "--set", "curate.min_score=0.62")
    assert raised.returncode == 0
    lower = ["curate", "--what-if", "min_score=0.5"]
    assert (
        "not applied here: the rules on near duplicates; they may" in run(tmp_path, *lower).stderr
    )
    judged = run(tmp_path, *lower, "--set", "curate.judge=true").stderr
    assert "not applied here: the rules on near duplicates and the LLM judge; they may" in judged
    store = Store(tmp_path / "workspace" / FILE)
    higher = ["curate", "--what-if", "min_score=0.7"]
    assert "not applied here" not in run(tmp_path, *higher).stderr
    with store.writing() as tx:
        tx.execute(
            "INSERT INTO duplicates BY NAME SELECT 'pairs' AS subject, 'lost' AS subject_id,"
            " id AS other_id, 'answers' AS part, 'c' AS cluster FROM kept"
        )
    assert (
        "not applied here: the rules on near duplicates; they may" in run(tmp_path, *higher).stderr
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gates.min_stp_share=0.2", "did you mean 'min_stop_share'"),
        ("judge_min_grade=4", "is not a threshold of the gates"),
        ("judge=true", "take one of min_score, gates."),
        ("min_score=3", "less than or equal to 1"),
        ("min_score", "not KEY=VALUE; write --what-if gates."),
    ],
)
def test_a_wrong_what_if_is_refused_in_one_line(curated: Path, change: str, message: str) -> None:
    done = run(curated, "curate", "--what-if", change)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("memoirist: --what-if ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_raised_threshold_drops_and_a_lowered_one_gives_back(curated: Path) -> None:
    def dropped() -> int:
        store = Store(curated / "workspace" / FILE)
        return int(store.value("SELECT count(*) FROM verdicts WHERE rule = 'low_score'"))

    former = dropped()
    assert run(curated, "curate", "--set", "curate.min_score=0.62").returncode == 0
    raised = dropped()
    assert raised > former
    near = Store(curated / "workspace" / FILE).rows(
        "SELECT * FROM near_misses WHERE threshold = 'min_score'"
    )
    assert {row["outside"] for row in near} == {True, False}
    assert all(row["distance"] <= 0.062 and row["limit"] == 0.62 for row in near)
    assert run(curated, "curate").returncode == 0
    assert dropped() == former


def test_the_funnel_narrows(composed: Path) -> None:
    rows = Store(composed / "workspace" / FILE).rows("FROM funnel WHERE source = 'all sources'")
    numbers = [row["n"] for row in rows if row["subject"] == "pairs"]
    assert numbers == sorted(numbers, reverse=True)
    assert [row["step"] for row in rows][:4] == [
        "passages",
        "pass the gates",
        "are not duplicates",
        "have a pair",
    ]


def _vectors(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(text) % 7), float(len(text) % 3), 1.0] for text in texts]


def _compare(tx: Transaction, embed: embeddings.Embed = _vectors) -> None:
    for vectors in embeddings.embed_texts(embeddings.missing_texts(tx), embed):
        embeddings.save_vectors(tx, vectors)
    embeddings.compare_pairs(tx, semantic=True)


def test_a_model_of_sentences_adds_its_cosine_and_embeds_each_text_once(curated: Path) -> None:
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        embedded.extend(texts)
        return _vectors(texts)

    store = Store(curated / "workspace" / FILE)
    counts = "SELECT count(*), count(cosine) FROM pair_signals JOIN made_pairs ON id = pair_id"
    with store.writing() as tx:
        _compare(tx, embed)
        ((n_pairs, n_compared),) = tx.fetch(counts)
        assert n_compared == n_pairs > 0
        assert len(embedded) == len(set(embedded))
        n_embedded = len(embedded)
        tx.execute("UPDATE pair_signals SET cosine = NULL")
        _compare(tx, embed)
        assert len(embedded) == n_embedded
        assert tx.fetch(counts) == [(n_pairs, n_pairs)]
        embeddings.compare_pairs(tx, semantic=False)
        assert tx.fetch(counts) == [(n_pairs, 0)]
        # The vectors of pairs that are gone go with them.
        tx.execute("DELETE FROM made_pairs")
        embeddings.compare_pairs(tx, semantic=False)
        assert tx.fetch("SELECT count(*) FROM embeddings") == [(0,)]


def test_the_store_is_free_while_the_model_of_sentences_runs(
    curated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(curated / "workspace")
    store = context.workspace.store
    seen: list[int] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        seen.append(store.value("SELECT count(*) FROM pairs"))
        return _vectors(texts)

    monkeypatch.setattr(sentence_model, "is_installed", lambda: True)
    monkeypatch.setattr(sentence_model, "embed", embed)
    curate_pairs(context)
    assert seen
    n_left = (
        "SELECT count(*) FROM pair_signals JOIN made_pairs ON id = pair_id WHERE cosine IS NULL"
    )
    assert store.value(n_left) == 0
    # All of it is done again, without a text to embed.
    seen.clear()
    with store.writing() as tx:
        tx.execute("DELETE FROM done WHERE step = 'curate'")
    curate_pairs(context)
    assert not seen


def test_a_cosine_does_not_depend_on_what_is_compared_with_it() -> None:
    cosines = "SELECT pair_id, cosine FROM pair_signals ORDER BY pair_id"
    with curation.store() as tx:
        tx.upsert(
            [rows.pair(n, question="x" * (n % 5) + " why?", answer="y" * n) for n in range(2100)]
        )
        rules.measure_pairs(tx)
        _compare(tx)
        before = tx.fetch(cosines)
        assert None not in dict(before).values()
        tx.execute("UPDATE pair_signals SET cosine = NULL WHERE pair_id = ?", [before[-1][0]])
        _compare(tx)
        assert tx.fetch(cosines) == before


def test_rows_that_older_rules_measured_are_measured_again(curated: Path) -> None:
    store = Store(curated / "workspace" / FILE)
    wrong = (
        "SELECT (SELECT count(*) FROM pair_signals WHERE question_words = 99),"
        " (SELECT count(*) FROM passage_signals WHERE n_words = 7),"
        " (SELECT count(*) FROM passage_measures WHERE n_sentences = 77)"
    )
    with store.writing() as tx:
        tx.execute("UPDATE pair_signals SET question_words = 99")
        tx.execute("UPDATE passage_signals SET n_words = 7")
        tx.execute("UPDATE passage_measures SET n_sentences = 77")
        rules.measure_pairs(tx)
        rules.measure_passages(tx, "en")
        assert 0 not in tx.fetch(wrong)[0]
        tx.execute("UPDATE done SET fingerprint = '1' WHERE step = 'rules'")
        rules.measure_pairs(tx)
        rules.measure_passages(tx, "en")
        assert tx.fetch(wrong) == [(0, 0, 0)]
