"""What changes between two builds: sources edited, moved, lost, refused; settings; killed steps."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Model, Run
from memoirist.flows.recipe import load
from memoirist.flows.refresh import worth_training
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.support.rows import NOW

_TOPICS = "river mill market school harbour garden kitchen railway orchard winter church letter"
_STORY = (
    "When I first saw the {0} I ~ was {1} years ~ old and I did not know ~ what to think ~ of"
    " it. My aunt ~ had told me ~ that a {0} was ~ no place for ~ a child, and ~ that I should ~"
    " stay behind her, ~ but I went ~ on alone and ~ stood there until ~ the light was ~ gone."
    " There was ~ a smell of {2} ~ that I can ~ still call up ~ whenever I want ~ to, and a ~"
    " man who asked ~ me whether I ~ had lost my ~ way. I said ~ that I had ~ not. He laughed ~"
    " and gave me half of his bread, ~ and we sat ~ on the wall ~ and ate it ~ without a word."
    " And ~ I have thought ~ of him more ~ often than of most of my own cousins, ~ and I never ~"
    " learnt what he ~ was called. That ~ is how it ~ was with the ~ {0} and me ~ in the year"
    " {1}{1}."
)
# They take the place of "~", so that no story is a near duplicate of another one.
_MORE = (
    "then often slowly indeed perhaps surely gladly almost rather once twice never always hardly"
    " quietly plainly truly badly soon later early again alone away home well maybe somehow half"
    " inside outside along around behind below nearly partly mostly simply barely"
).split()
REFUSED = "SELECT count(*) FROM dropped WHERE subject = 'sources'"


def story(topic: str, age: int, other: str, seed: int) -> str:
    rng = random.Random(seed)
    start, *rest = _STORY.split("~")
    told = start + "".join(rng.choice(_MORE) + part for part in rest)
    return told.format(topic, age, other)


def book(first: int = 0, title: str = "Salt Street") -> str:
    topics = _TOPICS.split()
    parts = []
    for n, topic in enumerate(topics):
        heading = title if n == 2 else f"The {topic}"
        other = topics[(n + 5) % len(topics)]
        parts.append(f"# {heading}\n\n" + story(topic, 10 + first + n, other, first * 100 + n))
    return "\n\n".join(parts) + "\n"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.md").write_text(book(), "utf-8")
    wanted = {"persona.name": "Ada", "passages.group_passages": 2}
    return Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))


def steps(context: Context, *pointers: Path, named: tuple[str, ...] = ()) -> dict[str, int]:
    context.changed.clear()
    extract_sources(context, [str(p) for p in pointers], named)
    for step in (split_documents, ask_questions, curate_pairs, compose_dataset):
        step(context)
    rows = context.workspace.store.rows("FROM coverage")
    assert all(row["found"] == row["kept"] + row["dropped"] for row in rows)
    return dict(context.changed)


def ids(context: Context, table: str) -> set[str]:
    return {row["id"] for row in context.workspace.store.rows(f"SELECT id FROM {table}")}


def test_an_edited_chapter_changes_only_its_own_rows(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    steps(context, folder)
    before, questions = ids(context, "passages"), ids(context, "questions")
    text = book().replace("my own cousins", "all of my cousins", 1)
    (folder / "one.md").write_text(text, "utf-8")
    changed = steps(context, folder)
    assert changed["ask"] == 1
    assert len(before - ids(context, "passages")) == 1
    assert questions < ids(context, "questions")
    assert steps(context, folder) == {}


def test_a_renamed_chapter_moves_its_group_everywhere(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "books")
    (tmp_path / "books" / "one.md").write_text(book(title="Pepper Street"), "utf-8")
    steps(context, tmp_path / "books")
    stale = "SELECT count(*) FROM kept k JOIN pairs a USING (id) JOIN passages p ON p.id ="
    assert (
        context.workspace.store.value(f"{stale} a.passage_id WHERE a.group_id <> p.group_id") == 0
    )


def test_a_moved_book_keeps_its_rows_when_another_takes_its_place(
    context: Context, tmp_path: Path
) -> None:
    folder = tmp_path / "books"
    steps(context, folder)
    before = ids(context, "passages")
    (folder / "one.md").rename(folder / "eins.md")
    assert steps(context, folder) == {}
    assert context.workspace.store.value("SELECT location FROM sources").endswith("eins.md")
    (folder / "one.md").write_text(book(first=40), "utf-8")
    changed = steps(context, folder)
    assert before < ids(context, "passages")
    dropped = context.workspace.store.value(
        "SELECT count(*) FROM verdicts WHERE subject = 'passages' AND NOT keep"
    )
    n_disclosures = context.workspace.store.value(
        "SELECT count(*) FROM passages JOIN sources s ON s.id = source_id"
        " WHERE s.format = 'disclosure'"
    )
    n_new = len(ids(context, "passages")) - len(before) - n_disclosures
    assert changed["ask"] == n_new - dropped


@pytest.mark.parametrize("fault", [b"", b"\xff\xfe\x00\x01\xd8"])
def test_a_book_refused_for_a_while_comes_back_as_it_was(
    context: Context, tmp_path: Path, fault: bytes
) -> None:
    path = tmp_path / "books" / "one.md"
    steps(context, path)
    before = {t: ids(context, t) for t in ("sources", "passages", "questions", "pairs")}
    path.write_bytes(fault)
    with pytest.raises(SourceError):
        extract_sources(context, [str(path)])
    assert context.workspace.store.value(REFUSED) == 1
    path.write_text(book(), "utf-8")
    steps(context, path)
    assert {t: ids(context, t) for t in before} == before
    assert context.workspace.store.value(REFUSED) == 0


def test_a_lost_file_does_not_stop_a_refresh(context: Context, tmp_path: Path) -> None:
    one, two = tmp_path / "books" / "one.md", tmp_path / "books" / "two.md"
    two.write_text(book(first=40), "utf-8")
    steps(context, one, two)
    two.unlink()
    one.write_text(book(first=60), "utf-8")
    changed = steps(context, one, two)
    assert changed["extract"] > 0
    rule = context.workspace.store.value("SELECT rule FROM dropped WHERE subject = 'sources'")
    assert rule == "source_missing"


def test_a_build_never_takes_in_what_it_made(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path)
    runs = tmp_path / "ws" / "runs" / "r"
    runs.mkdir(parents=True)
    row = (
        '{"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]}'
    )
    (runs / "conversations.jsonl").write_text(row, "utf-8")
    assert steps(context, tmp_path) == {}


def test_a_changed_gate_is_applied_and_told(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "two.md").write_text(book().replace(" I ", " - I - "), "utf-8")
    steps(context, folder)
    kept = context.workspace.store.value("SELECT count(*) FROM kept")
    context.recipe.curate.gates.min_letter_share = 0.9
    context.changed.clear()
    split_documents(context)
    assert context.changed["split"] > 0
    curate_pairs(context)
    assert context.workspace.store.value("SELECT count(*) FROM kept") == 0
    context.recipe.curate.gates.min_letter_share = 0.6
    steps(context, folder)
    assert context.workspace.store.value("SELECT count(*) FROM kept") >= kept


@pytest.mark.medium
def test_a_group_never_changes_sides(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    steps(context, folder)
    query = "SELECT group_id, split FROM splits"
    before = {r["group_id"]: r["split"] for r in context.workspace.store.rows(query)}
    assert set(before.values()) == {"train", "test", "validation"}
    for n in (1, 2, 3):
        (folder / f"more{n}.md").write_text(book(first=40 * n), "utf-8")
        steps(context, folder)
        after = {r["group_id"]: r["split"] for r in context.workspace.store.rows(query)}
        assert {g: after[g] for g in before} == before
        before = after


def test_a_dataset_that_was_composed_and_not_trained_is_still_new(
    context: Context, tmp_path: Path
) -> None:
    store = context.workspace.store
    steps(context, tmp_path / "books")
    run = Run(
        id="r",
        dataset_id=store.value("SELECT id FROM datasets"),
        base_model="tiny",
        recipe="{}",
        seed=1,
        status="evaluated",
        started_at=NOW,
    )
    with store.writing() as tx:
        tx.upsert([run])
        tx.upsert(
            [Model(run_id="r", adapter_path="a", merged_path="m", dtype="float32", champion=True)]
        )
    context.recipe.refresh.min_new_pairs = 2
    assert not worth_training(context)
    (tmp_path / "books" / "two.md").write_text(book(first=40), "utf-8")
    steps(context, tmp_path / "books")
    assert worth_training(context)


def test_what_an_earlier_dataset_holds_can_still_be_traced(
    context: Context, tmp_path: Path
) -> None:
    steps(context, tmp_path / "books")
    store = context.workspace.store
    first = store.value("SELECT id FROM datasets")
    before = store.rows("SELECT pair_id, answer FROM lineage WHERE dataset_id = ?", [first])
    context.recipe.curate.min_score = 0.99
    with store.writing() as tx:
        tx.execute("DELETE FROM asked_questions WHERE rowid % 2 = 0")
    context.changed.clear()
    curate_pairs(context)
    after = store.rows("SELECT pair_id, answer FROM lineage WHERE dataset_id = ?", [first])
    assert len(after) >= len(before) // 2
    rows = store.rows("FROM coverage WHERE subject = 'pairs'")
    assert rows[0]["found"] == rows[0]["kept"] + rows[0]["dropped"]
    assert "superseded" in rows[0]["by_rule"]


def test_a_file_name_that_is_not_utf8_is_a_verdict_and_the_others_go_on(
    context: Context, tmp_path: Path
) -> None:
    odd = os.fsencode(tmp_path / "books") + b"/br\xfccke.md"
    Path(os.fsdecode(odd)).write_text(book(first=30), "utf-8")
    steps(context, tmp_path / "books")
    told = context.workspace.store.rows("SELECT rule, reason FROM dropped WHERE subject='sources'")
    assert [row["rule"] for row in told] == ["source_unreadable"]
    assert "br\\\\udcfccke.md' is not UTF-8" in told[0]["reason"]
    assert context.workspace.store.value("SELECT count(*) FROM passages")


def test_talks_without_the_persona_have_no_say_in_the_language(
    context: Context, tmp_path: Path
) -> None:
    german = (
        "Als ich noch ein Kind war, ging ich jeden Morgen mit meinem Vater hinunter zum Fluss, und"
        " wir saßen dort, bis die Sonne über den Häusern stand und die Leute zur Arbeit gingen. "
    )
    paragraphs = "\n\n".join(german * 4 + f"Das war das Jahr {n}." for n in range(1901, 1905))
    (tmp_path / "books" / "one.md").write_text(f"# Eins\n\n{paragraphs}\n", "utf-8")
    cues = "".join(
        f"00:{n:02}:00.000 --> 00:{n:02}:30.000\n<v Guest {n % 2}>"
        f"{_STORY.format('mill', n, 'x')}\n\n"
        for n in range(30)
    )
    (tmp_path / "books" / "talk.vtt").write_text(f"WEBVTT\n\n{cues}", "utf-8")
    extract_sources(context, [str(tmp_path / "books")], ())
    split_documents(context)
    assert persona_language(context) == "de"
    assert context.workspace.store.value("SELECT count(*) FROM dropped WHERE rule='language'") == 0


def test_a_talk_is_split_again_only_where_its_limits_change(tmp_path: Path) -> None:
    stories = {year: story("mill", 12, "bread", year).split(". ") for year in range(1901, 1907)}
    turns = "\n\n".join(
        f"**Ben:** What came in the year {year}?\n\n**Ada:** In {year}? {'. '.join(parts[:4])}.\n\n"
        f"**Ben:** In your own year.\n\n**Ada:** Not {year}, no. {'. '.join(parts[4:])}\n\n"
        f"**Ben:** Thanks.\n\n**Ada:** Not at all."
        for year, parts in stories.items()
    )
    talk = tmp_path / "talk.md"
    talk.write_text(turns, "utf-8")
    told: dict[int, list[str]] = {}
    for limit in (15, 15, 0):
        settings = {"persona.name": "Ada", "passages.min_comment_words": limit}
        context = Context(Workspace(tmp_path / "ws"), load(None, settings), Report(quiet=True))
        before = told.get(limit)
        changed = steps(context, talk)
        store = context.workspace.store
        rows = store.rows("FROM kept WHERE origin = 'spoken' ORDER BY thread_id, ord")
        told[limit] = [row["question"] for row in rows]
        assert bool(changed) is (before is None)
        assert before is None or before == told[limit]
        assert [row["ord"] for row in rows] == list(range(len(rows)))
        by_rule = "SELECT rule, count(*) AS n FROM dropped WHERE subject = 'blocks' GROUP BY rule"
        rules = {row["rule"]: row["n"] for row in store.rows(by_rule)}
        assert rules.get("aside", 0) == (6 if limit else 0)
    assert len(told[15]) == 6
    assert len(told[0]) == 12
