"""Near duplicates: what is found, what stays, and that nothing is done twice."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from memoirist.data.curation import embeddings, rules
from memoirist.data.curation.duplicates import DuplicateSettings, drop_pairs, drop_passages
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Pair, Passage
from memoirist.data.store.store import Store
from memoirist.data.store.transaction import Transaction
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.flows.test_changed_sources import book
from tests.support import rows as made
from tests.support.rows import NOW
from tests.support.stores import empty_store

SETTINGS = DuplicateSettings.model_validate({})


def tokens(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(n)]


def text(n: int, seed: int) -> str:
    return " ".join(tokens(n, seed)).capitalize() + "."


def edited(words: str, *places: int) -> str:
    parts = words.split(" ")
    for place in places:
        parts[place] = f"other{place}"
    return " ".join(parts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = empty_store(tmp_path / "memoirist.duckdb")
    with store.writing() as tx:
        tx.upsert([made.source(number=n) for n in range(3)])
    return store


def passages(*texts: str) -> list[Passage]:
    return [made.passage(n, words) for n, words in enumerate(texts)]


def drop(store: Store, *new: Passage | Pair) -> list[dict[str, Any]]:
    """Write the rows, drop near duplicates, and return the verdicts."""
    with store.writing() as tx:
        for row in new:
            tx.upsert([row])
        drop_passages(tx, SETTINGS, NOW)
        drop_pairs(tx, SETTINGS, NOW)
    return store.rows(
        "SELECT subject_id AS id, rule, score, beaten_by, reason FROM verdicts"
        " WHERE step = 'dedupe' ORDER BY subject, subject_id"
    )


def test_an_edited_copy_is_dropped_for_the_one_of_the_first_source(store: Store) -> None:
    first, other = passages(text(120, 1), text(120, 2))
    near = replace(made.passage(3, edited(first.text, 9, 60)), source_id=made.source(number=1).id)
    same = replace(made.passage(4, first.text.upper()), source_id=made.source(number=1).id)
    found = {verdict["id"]: verdict for verdict in drop(store, first, other, near, same)}
    assert set(found) == {near.id, same.id}
    assert {v["beaten_by"] for v in found.values()} == {first.id}
    assert found[same.id]["rule"] == "duplicate"
    assert found[near.id]["rule"] == "near_duplicate"
    assert found[near.id]["score"] == pytest.approx(106 / 126, abs=0.001)
    assert (
        "0.84 of both texts is the same (limit 0.7), compared with passage "
        in found[near.id]["reason"]
    )


def test_nothing_gives_nothing(store: Store) -> None:
    assert drop(store) == []
    assert drop(store, *passages("One.", "Two.")) == []


def test_of_many_copies_one_stays(store: Store) -> None:
    original = text(100, 1)
    copies = [edited(original, n % 100) for n in range(300)]
    found = drop(store, *passages(*copies))
    assert len(found) == 299
    assert len({verdict["beaten_by"] for verdict in found}) == 1


def test_the_longer_of_two_windows_stays_and_a_chain_is_cut(store: Store) -> None:
    words = tokens(400, 1)
    whole, inside = " ".join(words[:200]), " ".join(words[50:150])
    first, second, apart = passages(whole, inside, " ".join(words[160:360]))
    (verdict,) = drop(store, first, second, apart)
    assert (verdict["id"], verdict["beaten_by"], verdict["score"]) == (second.id, first.id, 1.0)
    assert "of the shorter text is also in the longer one" in verdict["reason"]
    # Each window is near the next, and the first is not near the last.
    words = tokens(400, 2)
    windows = [" ".join(words[at : at + 100]) for at in range(0, 300, 15)]
    rows = [made.passage(100 + n, window) for n, window in enumerate(windows)]
    lost = {verdict["id"] for verdict in drop(store, *rows)}
    assert 3 <= len({row.id for row in rows} - lost) < len(rows) / 2


def test_new_texts_change_nothing_that_was_decided(store: Store, tmp_path: Path) -> None:
    originals = [text(90, seed) for seed in range(20)]
    copies = [edited(words, 5, 50) for words in originals] + originals[:5]
    windows = [" ".join(words.split(" ")[10:60]) for words in originals[:7]]
    every = passages(*originals, *copies, *windows)
    for start in range(0, len(every), 13):
        drop(store, *every[start : start + 13])
    tables = ("duplicates", "duplicate_texts", "duplicate_bands", "duplicate_links")
    content = [store.rows(f"FROM {table} ORDER BY ALL") for table in tables]
    verdicts = store.rows("FROM verdicts ORDER BY ALL")
    drop(store)
    assert [store.rows(f"FROM {table} ORDER BY ALL") for table in tables] == content
    assert store.rows("FROM verdicts ORDER BY ALL") == verdicts
    whole = empty_store(tmp_path / "whole.duckdb")
    with whole.writing() as tx:
        tx.upsert([made.source(number=n) for n in range(3)])
    drop(whole, *every)
    assert [whole.rows(f"FROM {table} ORDER BY ALL") for table in tables] == content
    # What is gone beats nothing any more.
    with store.writing() as tx:
        tx.execute("DELETE FROM cut_passages WHERE id <> ?", [every[20].id])
    assert drop(store) == []
    assert store.value("SELECT count(*) FROM duplicate_links") == 0


def pair(n: int, question: str, answer: str, origin: str = "spoken", **extra: object) -> Pair:
    return made.pair(n, question=question, answer=answer, origin=origin, score=0.5, **extra)


def test_a_real_question_beats_a_generated_one_and_a_template(store: Store) -> None:
    answer = text(60, 1)
    told = [
        pair(1, "What of the mill, then?", answer, "template"),
        pair(2, "Why did you leave your home?", edited(answer, 20), "generated"),
        pair(3, "And then?", edited(answer, 40), "spoken"),
    ]
    found = drop(store, *told)
    assert {v["id"]: v["beaten_by"] for v in found} == {
        told[0].id: told[2].id,
        told[1].id: told[2].id,
    }
    assert {v["rule"] for v in found} == {"near_duplicate"}


def test_a_second_question_and_a_short_answer_stay(store: Store) -> None:
    passage = made.passage(1, text(60, 1)).id
    told = [
        pair(1, "What was the first thing you saw there?", text(60, 1), "generated"),
        pair(2, "Who else was with you?", text(60, 1), "generated"),
        pair(3, "Were you glad of it?", "Yes, I was very glad.", "spoken"),
        pair(4, "Would you do it again?", "Yes, I was very glad.", "spoken"),
        pair(5, "Would you do it again!", "Yes. I was VERY glad.", "spoken"),
    ]
    told[:2] = [replace(each, passage_id=passage) for each in told[:2]]
    (verdict,) = drop(store, *told)
    assert {verdict["id"], verdict["beaten_by"]} == {told[3].id, told[4].id}
    assert verdict["rule"] == "duplicate"


def test_only_a_written_question_may_not_come_twice(store: Store) -> None:
    asked = "What did your father teach you about the trade"
    told = [
        pair(1, f"{asked}?", text(60, 1), "spoken"),
        pair(2, f"{asked}, then?", text(60, 2), "spoken"),
        pair(3, f"So {asked.lower()}?", text(60, 3), "generated"),
        pair(4, "What happened in the year 1748?", text(60, 4), "generated"),
        pair(5, "What happened in the year 1749?", text(60, 5), "generated"),
        pair(6, "Why was that?", text(60, 6), "generated"),
        pair(7, "Why was that?", text(60, 7), "generated"),
    ]
    (verdict,) = drop(store, *told)
    assert verdict["id"] == told[2].id
    assert "of both questions is the same (limit 0.7), compared with pair " in verdict["reason"]


@pytest.mark.parametrize("best", range(3))
def test_a_question_is_not_dropped_for_one_of_another_number(store: Store, best: int) -> None:
    asked = "What happened to you in the long and very hard winter of the year"
    ends = [" 1748?", "?", " 1749?"]
    told = [
        replace(pair(n, asked + ends[n], text(60, n), "generated"), id=f"{(n - best) % 3}")
        for n in range(3)
    ]
    years = {row.id: row.question[-5:-1] for row in told}
    for verdict in drop(store, *told):
        assert "year" in (years[verdict["id"]], years[verdict["beaten_by"]])


def test_a_text_between_two_is_named_by_the_limit_of_answers(store: Store) -> None:
    words = text(120, 1)
    told = [edited(words, *range(5, 5 + 12 * n, 12)) for n in (0, 3, 6)]
    limits = SETTINGS.model_copy(update={"min_question_jaccard": 0.5})
    with store.writing() as tx:
        tx.upsert([pair(n, f"Why {n}?", answer) for n, answer in enumerate(told)])
        drop_pairs(tx, limits, NOW)
    rows = store.rows("SELECT score, reason FROM verdicts WHERE score < 0.7")
    assert [row["reason"].split(";")[0] for row in rows] == ["near duplicates of the same text"]


def test_a_character_is_a_word_in_chinese(store: Store) -> None:
    rng = random.Random(1)
    characters = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(200))
    changed = characters[:50] + "我" + characters[51:]
    spaced = "，".join(characters[at : at + 10] for at in range(0, 200, 10)) + "。"
    other = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(200))
    found = drop(store, *passages(characters, changed, spaced, other))
    assert sorted(verdict["rule"] for verdict in found) == ["duplicate", "near_duplicate"]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    wanted = {"persona.name": "Ada", "persona.lang": "en"}
    return Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))


def curate(context: Context, *paths: Path) -> None:
    extract_sources(context, [str(path) for path in paths])
    for step in (split_documents, ask_questions, curate_pairs):
        step(context)


_NOUNS = "river mill father lamp horse winter bridge letter school garden stone candle".split()
_VERBS = "carried opened left painted counted followed mended sold forgot promised".split()


def sentence(rng: random.Random) -> str:
    a, b, c = rng.sample(_NOUNS, 3)
    verbs = rng.sample(_VERBS, 2)
    return f"The {a} {verbs[0]} a {b} before the {c} {verbs[1]} {rng.choice(_NOUNS)}s again."


def test_edited_rows_of_a_dataset_are_found(context: Context, tmp_path: Path) -> None:
    rng = random.Random(5)
    rows, copies = [], []
    for number in range(60):
        question = f"What did the {rng.choice(_NOUNS)} {rng.choice(_VERBS)} in {1800 + number}?"
        answer = " ".join(sentence(rng) for _ in range(number % 8 + 2))
        rows.append({"question": question, "response": answer})
        parts = answer.split(" ")
        parts[number % 7 + 3] = "quietly"
        copies += [
            {"question": question, "response": " ".join(parts)},
            {"question": question, "response": f"{answer} {sentence(rng)}"},
            {"question": f"Please tell me: {question}", "response": answer},
        ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows + copies)), "utf-8")
    curate(context, path)
    store = context.workspace.store
    assert store.value("SELECT count(*) FROM kept") == len(rows)
    assert store.value("SELECT count(DISTINCT cluster) FROM duplicates") == len(rows)


def test_a_passage_of_a_book_in_a_row_of_a_dataset(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "book.md"
    path.write_text(book(), "utf-8")
    told = book().split("\n\n")[3].replace("laughed", "smiled")
    row = {"question": "What do you remember of it?", "answer": told}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(row), "utf-8")
    curate(context, path, rows)
    store = context.workspace.store
    (verdict,) = store.rows("FROM verdicts WHERE step = 'dedupe'")
    winner = store.rows("SELECT origin FROM pairs WHERE id = ?", [verdict["beaten_by"]])
    assert winner == [{"origin": "given"}]
    assert store.value("SELECT count(*) FROM kept") == 12


def test_answers_that_mean_the_same_are_near_duplicates(store: Store) -> None:
    pairs = [pair(n, f"Why {n}?", text(40, n)) for n in range(9)]
    answers = [each.answer for each in pairs]

    def embed(texts: Sequence[str]) -> list[list[float]]:
        # Each text has a direction of its own; the second answer shares .86 of the first one's.
        vectors = np.array([_direction(each) for each in texts])
        if answers[1] in texts:
            first = _direction(answers[0])
            own = _direction(answers[1]) - _direction(answers[1]) @ first * first
            vectors[texts.index(answers[1])] = 0.86 * first + (1 - 0.86**2) ** 0.5 * own / (
                np.linalg.norm(own)
            )
        return [list(map(float, vector)) for vector in vectors]

    def dropped(tx: Transaction, min_cosine: float = 0.85) -> list[tuple[Any, ...]]:
        drop_pairs(tx, SETTINGS.model_copy(update={"min_cosine": min_cosine}), NOW)
        return tx.fetch(
            "SELECT subject_id, beaten_by, reason, measure FROM verdicts"
            " JOIN duplicates USING (subject_id) WHERE step = 'dedupe'"
        )

    with store.writing() as tx:
        tx.upsert(pairs)
        rules.set_thresholds(tx, CurateSettings(), "en")
        rules.measure_pairs(tx)
        assert dropped(tx) == []
        for vectors in embeddings.embed_texts(embeddings.missing_texts(tx), embed):
            embeddings.save_vectors(tx, vectors)
        embeddings.compare_pairs(tx, semantic=True)
        ((lost, kept, reason, measure),) = dropped(tx)
        assert {lost, kept} == {pairs[0].id, pairs[1].id}
        assert reason.startswith(
            "the answer means the same (cosine 0.86, limit 0.85) as that of pair "
        )
        assert measure == "cosine"
        assert dropped(tx, 0.87) == []
        assert len(dropped(tx)) == 1
        embeddings.compare_pairs(tx, semantic=False)
        assert dropped(tx) == []


def _direction(words: str) -> npt.NDArray[np.float64]:
    vector = np.random.default_rng(zlib.crc32(words.encode())).normal(size=384)
    return vector / float(np.linalg.norm(vector))
