"""The store: one writer, short transactions, waiting, views that add up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from memoirist.data.schema.errors import NothingToDo, QueryError, StoreError, StoreLocked
from memoirist.data.schema.records import (
    Block,
    Conversation,
    Dataset,
    GroupSplit,
    Pair,
    Passage,
    Request,
    Source,
    Verdict,
)
from memoirist.data.store.store import FILE, MIGRATIONS, Attached, Store
from tests.support.rows import NOW, block, document, pair, passage, source


def test_rows_come_back_as_they_were_written(store: Store) -> None:
    one = passage(1, block_ids=("b1", "b2"), page_first=3, chapter="One")
    talk = Conversation(
        id="c",
        dataset_id="d",
        split="train",
        pair_ids=("p",),
        messages=[{"role": "user", "content": "微调测试"}],
        n_tokens=3,
    )
    with store.writing() as tx:
        assert tx.upsert([one]) == 1
        assert tx.upsert([talk]) == 1
        assert tx.upsert([]) == 0
    (found,) = store.nouns(Passage)
    assert replace(found, block_ids=tuple(found.block_ids)) == one
    assert store.nouns(Conversation)[0].messages == talk.messages


def test_a_second_write_of_a_key_replaces_the_first(store: Store) -> None:
    for title in ("old", "new"):
        with store.writing() as tx:
            tx.upsert([replace(source(), title=title)])
    assert [s.title for s in store.nouns(Source)] == ["new"]


def test_a_failing_transaction_writes_nothing(store: Store) -> None:
    with store.writing() as tx:
        tx.upsert([source()])
    with pytest.raises(AttributeError), store.writing() as tx:
        tx.upsert([source(number=1), document()])
    assert len(store.nouns(Source)) == 1


def test_a_failing_statement_on_batches_says_itself_what_is_wrong(store: Store) -> None:
    batches = [pa.RecordBatch.from_pydict({"id": ["a"]})]
    with pytest.raises(StoreError, match="no_such_column"), store.writing() as tx:
        tx.insert_arrow(batches, batches[0].schema, "SELECT no_such_column FROM incoming", {})


def test_reading_before_there_is_a_workspace(store: Store) -> None:
    with pytest.raises(NothingToDo, match="memoirist build"):
        store.fetch("SELECT 1")


@pytest.mark.parametrize("sql", ["SELECT * FROM nowhere", "DELETE FROM pairs", "SELEC 1"])
def test_a_wrong_or_writing_query_is_refused_in_one_line(store: Store, sql: str) -> None:
    with store.writing() as tx:
        tx.upsert([source()])
    with pytest.raises(QueryError) as refused:
        store.fetch(sql)
    assert "\n" not in str(refused.value)
    assert len(store.nouns(Source)) == 1


def test_any_duckdb_client_opens_the_file(store: Store) -> None:
    with store.writing() as tx:
        tx.upsert([source()])
    with duckdb.connect(str(store.path), read_only=True) as client:
        names = {
            name for (name,) in client.execute("SELECT view_name FROM duckdb_views()").fetchall()
        }
        assert {"kept", "dropped", "lineage", "coverage"} <= names
        assert client.execute("SELECT title FROM sources").fetchone() == ("Book 0",)


def test_a_damaged_file_is_refused_with_a_next_step(store: Store) -> None:
    store.path.write_bytes(b"not a database" * 500)
    with pytest.raises(StoreError, match="move it away"):
        store.fetch("SELECT 1")


def _hold(path: Path, ready: Path) -> subprocess.Popen[bytes]:
    code = (
        "import duckdb, sys, time, pathlib;"
        f"c = duckdb.connect({str(path)!r});"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_reader_says_that_a_build_is_running(store: Store, tmp_path: Path) -> None:
    with store.writing() as tx:
        tx.upsert([source()])
    holder = _hold(store.path, tmp_path / "ready")
    try:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        with pytest.raises(StoreLocked, match="a build is running"):
            Store(store.path, wait_seconds=0.2).fetch("SELECT 1")
    finally:
        holder.kill()
        holder.wait()


def test_a_writer_waits_for_a_reader_and_says_so(store: Store, tmp_path: Path) -> None:
    with store.writing() as tx:
        tx.upsert([source()])
    holder = _hold(store.path, tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    threading.Timer(1.6, holder.kill).start()
    said: list[str] = []
    with Store(store.path, on_wait=said.append).writing() as tx:
        tx.upsert([source(number=1)])
    holder.wait()
    assert len(said) == 1
    assert "another program" in said[0]
    assert len(store.nouns(Source)) == 2


def _write_for_ever(path: str) -> None:
    own = Store(Path(path))
    for n in range(10_000):
        with own.writing() as tx:
            tx.upsert([source(number=n)])
            tx.upsert([replace(block(n, "text"), document_id=source(number=n).id)])


def test_a_killed_writer_leaves_whole_transactions(store: Store) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_write_for_ever, args=(str(store.path),)
    )
    child.start()
    while not store.path.exists():
        time.sleep(0.02)
    time.sleep(1.0)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    sources = {s.id for s in store.nouns(Source)}
    assert sources
    assert {b.document_id for b in store.nouns(Block)} == sources


def _drop(subject: str, subject_id: str, rule: str) -> Verdict:
    return Verdict(
        subject_id=subject_id,
        subject=subject,
        rule=rule,
        keep=False,
        reason="because",
        created_at=NOW,
        source_id=source().id,
    )


def test_coverage_adds_up_and_counts_each_thing_once(store: Store) -> None:
    blocks = [block(n, f"text {n}") for n in range(5)]
    pairs = [pair(n) for n in range(3)]
    with store.writing() as tx:
        tx.upsert([source()])
        tx.upsert([document()])
        tx.upsert(blocks)
        tx.upsert(pairs)
        tx.upsert(
            [
                _drop("blocks", blocks[0].id, "folio"),
                _drop("blocks", blocks[0].id, "footnote"),
                _drop("blocks", blocks[1].id, "folio"),
                _drop("documents", "a line that never became a document", "bad_row"),
                _drop("pairs", pairs[0].id, "low_score"),
                replace(_drop("pairs", pairs[1].id, "flag"), keep=True),
            ]
        )
    rows = {row["subject"]: row for row in store.rows("FROM coverage")}
    for row in rows.values():
        assert row["found"] == row["kept"] + row["dropped"]
    assert (rows["blocks"]["found"], rows["blocks"]["dropped"]) == (5, 2)
    assert rows["blocks"]["by_rule"] == "folio 2"
    assert (rows["documents"]["found"], rows["documents"]["kept"]) == (2, 1)
    assert rows["documents"]["by_rule"] == "bad_row 1"
    assert (rows["pairs"]["kept"], rows["pairs"]["by_rule"]) == (2, "low_score 1")
    assert store.nouns(Pair)


def test_pages_count_as_pages_and_documents_as_documents(store: Store) -> None:
    told = [
        block(1, "On one page.", page=1),
        block(2, "Over three pages.", page=2, page_last=4),
        block(3, "On the last of them.", page=4),
        block(4, "Without a page."),
    ]
    here = document().id
    with store.writing() as tx:
        tx.upsert([source()])
        tx.upsert([document()])
        tx.upsert(told)
        tx.upsert(
            [
                _drop("pages", f"{here}-3", "unmapped_text"),
                _drop("pages", f"{here}-9", "unreadable_page"),
                replace(_drop("pages", f"{here}-1", "ocr_confidence"), keep=True),
            ]
        )
    rows = {row["subject"]: row for row in store.rows("FROM coverage")}
    assert (rows["documents"]["found"], rows["documents"]["dropped"]) == (1, 0)
    pages = rows["pages"]
    assert (pages["found"], pages["kept"], pages["dropped"]) == (5, 3, 2)
    assert (pages["by_rule"], pages["flags"]) == (
        "unmapped_text 1, unreadable_page 1",
        "ocr_confidence 1",
    )


def test_an_older_workspace_gets_the_same_coverage(tmp_path: Path) -> None:
    new, old = Store(tmp_path / "new.duckdb"), Store(tmp_path / "old.duckdb")
    with duckdb.connect(str(old.path)) as connection:
        connection.execute("CREATE TABLE migrations (name VARCHAR, applied_at TIMESTAMPTZ)")
        for path in sorted(MIGRATIONS.glob("*.sql")):
            if path.name >= "011":
                continue
            connection.execute(path.read_text("utf-8"))
            connection.execute("INSERT INTO migrations VALUES (?, now())", [path.name])
        # As it stood before pages had a subject of their own.
        connection.execute("CREATE VIEW coverage AS SELECT id, 'documents' AS subject FROM sources")
        connection.execute(
            "INSERT INTO documents BY NAME SELECT ? AS id, ? AS source_id, 'A' AS title",
            [document().id, source().id],
        )
        for rule, reason in (("unreadable_page", "page 12 cannot be read"), ("encoding", "in 2")):
            connection.execute(
                "INSERT INTO verdicts BY NAME SELECT 'h' AS subject_id, 'documents' AS subject,"
                " ? AS rule, false AS keep, ? AS reason, 'extract' AS step, ? AS source_id,"
                " now() AS created_at",
                [rule, reason, source().id],
            )
    for each in (new, old):
        with each.writing() as tx:
            tx.upsert([source()])
    shown = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
    assert new.rows(shown) == old.rows(shown)
    found = old.rows("SELECT subject, subject_id FROM verdicts ORDER BY rule DESC")
    assert [(row["subject"], row["subject_id"]) for row in found] == [
        ("pages", f"{document().id}-12"),
        ("documents", "h"),
    ]


def _older(path: Path) -> Path:
    """Make a workspace file that lacks the last migration and the views."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE migrations (name VARCHAR, applied_at TIMESTAMPTZ)")
        for script in sorted(MIGRATIONS.glob("*.sql"))[:-1]:
            connection.execute(script.read_text("utf-8"))
            connection.execute("INSERT INTO migrations VALUES (?, now())", [script.name])
    return path


def test_whoever_reads_an_older_workspace_first_brings_it_up_to_date(tmp_path: Path) -> None:
    readers: list[Callable[[Store], object]] = [
        lambda store: store.fetch("SELECT * FROM version_verdicts"),
        lambda store: store.rows("SELECT * FROM kept"),
        lambda store: store.nouns(Dataset),
    ]
    for n, read in enumerate(readers):
        read(Store(_older(tmp_path / f"{n}.duckdb")))
    path = _older(tmp_path / "trial.duckdb")
    with Store(path).trial() as tx:
        assert tx.fetch("SELECT * FROM versions") == []
    # What is up to date is opened for reading alone.
    with duckdb.connect(str(path), read_only=True):
        assert Store(path, wait_seconds=0.0).rows("SELECT * FROM versions") == []


def test_an_older_workspace_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    path = _older(tmp_path / FILE)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from memoirist.data.store.store import Store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: Store(Path(sys.argv[1])).fetch('SELECT 1')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(
        "StoreError the workspace is from an older release and must be updated, but "
    ), done.stderr
    assert "name a copy of the workspace with -w" in done.stdout


def test_a_workspace_of_the_version_before_opens_and_gets_the_views_of_this_one(
    tmp_path: Path,
) -> None:
    new, old = Store(tmp_path / "new.duckdb"), Store(tmp_path / "old.duckdb")
    schema = Path(__file__).parent / "fixtures" / "workspace_0_1_0.sql"
    with duckdb.connect(str(old.path)) as connection:
        connection.execute(schema.read_text("utf-8"))
        connection.execute("CREATE OR REPLACE VIEW kept AS SELECT 'what it once was' AS id")
        connection.execute(
            "INSERT INTO sources BY NAME SELECT 'old' AS id, 'book' AS kind, 'pdf' AS format,"
            " 'a.pdf' AS location, 'f' AS sha256, now() AS added_at"
        )
    for store in (new, old):
        with store.writing() as tx:
            tx.upsert([pair(1), pair(2)])
            tx.upsert([source()])
    shown = (
        "SELECT view_name AS name, sql FROM duckdb_views() WHERE NOT internal UNION ALL"
        " SELECT function_name, macro_definition FROM duckdb_functions() WHERE NOT internal"
        " UNION ALL SELECT table_name, string_agg(column_name || data_type ORDER BY column_name)"
        " FROM duckdb_columns() WHERE NOT internal GROUP BY ALL ORDER BY ALL"
    )
    assert new.rows(shown) == old.rows(shown)
    assert {row.id for row in old.nouns(Source)} == {"old", source().id}
    assert len(old.nouns(Pair)) == 2
    assert {row["found"] for row in old.rows("FROM coverage WHERE source_id = 'old'")} == {1}
    applied = "SELECT name FROM migrations ORDER BY ALL"
    before = old.rows(applied)
    with Store(old.path).writing() as tx:
        tx.upsert([source(number=1)])
    assert old.rows(applied) == before
    assert {row["name"] for row in new.rows(applied)} < {row["name"] for row in before}


def test_moments_come_back_as_moments_of_one_time(store: Store) -> None:
    with store.writing() as tx:
        tx.upsert([replace(source(), added_at=NOW)])
    (found,) = store.nouns(Source)
    assert found.added_at == NOW
    assert found.added_at.utcoffset() is not None


def test_half_a_character_of_a_reply_is_written_as_a_mark(store: Store) -> None:
    request = Request(
        id="r", purpose="interview", model="m", status="unusable", attempts=1, reply="Why \ud83d?"
    )
    with store.writing() as tx:
        tx.upsert([request])
    assert store.value("SELECT reply FROM requests") == "Why ??"


def test_threads_take_turns_and_the_file_is_free_between(store: Store) -> None:
    def write(thread: int) -> None:
        for n in range(8):
            with store.writing() as tx:
                tx.upsert([GroupSplit(group_id=f"{thread}-{n}", source_id="s", split="train")])
            assert store.value("SELECT count(*) FROM splits") > n

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, range(3)))
    assert store.fetch("SELECT count(*) FROM splits").rows == [(24,)]
    # Nothing is left beside it, and another program writes to it while this one lives.
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]
    script = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('DELETE FROM splits')"
    subprocess.run([sys.executable, "-c", script, str(store.path)], check=True)
    assert store.value("SELECT count(*) FROM splits") == 0


class Failing:
    """A connection that fails at one word."""

    def __init__(self, connection: Any, word: str, error: BaseException) -> None:
        self.connection, self.word, self.error = connection, word, error

    def execute(self, sql: str) -> None:
        if sql.startswith(self.word):
            raise self.error
        self.connection.execute(sql)

    def close(self) -> None:
        self.connection.close()


@pytest.mark.parametrize("word", ["USE", "DETACH"])
def test_an_interrupt_leaves_nothing_held_and_nothing_attached(store: Store, word: str) -> None:
    with store.writing() as tx:
        tx.upsert([GroupSplit(group_id="g", source_id="s", split="train")])
    attached = Attached(store.path, read_only=False)
    attached.connection = Failing(attached.connection, word, KeyboardInterrupt())  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        attached.close()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(store.value, "SELECT count(*) FROM splits").result(20) == 1


def test_what_is_committed_is_written_though_the_file_could_not_be_tidied(store: Store) -> None:
    with store.writing():
        pass
    attached = Attached(store.path, read_only=False)
    attached.connection.execute("INSERT INTO splits VALUES ('g', 's', 'train')")
    error = duckdb.IOException("IO Error: ... CHECKPOINT during DETACH failed.")
    attached.connection = Failing(attached.connection, "DETACH", error)  # type: ignore[assignment]
    attached.close()
    assert store.value("SELECT count(*) FROM splits") == 1


def test_what_does_not_fit_goes_to_disk_beside_the_file(store: Store, tmp_path: Path) -> None:
    for each in (store, Store(tmp_path / "other" / "memoirist.duckdb")):
        with each.writing() as tx:
            (found,) = tx.fetch("SELECT current_setting('temp_directory')")
        assert found == (f"{each.path}.tmp",)
