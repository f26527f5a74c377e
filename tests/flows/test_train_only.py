"""What is trained on and never held out: exchanges saved in talks, and the disclosure of an AI."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from memoirist.data.composition.disclosure import disclosure_texts, exchanges
from memoirist.data.composition.saved_exchanges import Exchange
from memoirist.data.evaluation.honesty import discloses
from memoirist.data.schema.errors import NothingToDo, StoreLocked
from memoirist.flows.chat.chat_session import save_exchange
from memoirist.flows.recipe import load
from memoirist.flows.rights_ledger import restore, withdraw
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.conftest import ROOT
from tests.support.normal_form import normalise

WORDS = "lamp rope door salt horse bridge candle letter".split()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    wanted = {"persona.name": "Ada Marrow", "persona.lang": "en"}
    context = Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))
    rows = [
        {"question": f"What of the {a} and the {b}?", "response": f"The {a} came before the {b}."}
        for a in WORDS
        for b in WORDS
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return context


def steps(context: Context) -> dict[str, int]:
    context.changed.clear()
    if not context.workspace.store.path.exists():
        extract_sources(context, [str(context.workspace.root.parent / "a.jsonl")])
    for step in (split_documents, ask_questions, curate_pairs, compose_dataset):
        step(context)
    found = context.workspace.store.rows("FROM coverage")
    assert all(each["found"] == each["kept"] + each["dropped"] for each in found)
    return dict(context.changed)


def taken(context: Context, origin: str) -> list[tuple[str, str, str]]:
    rows = context.workspace.store.rows(
        "SELECT split, question, answer FROM lineage WHERE origin = ? AND dataset_id ="
        " (SELECT id FROM datasets ORDER BY used_at DESC LIMIT 1) ORDER BY question",
        [origin],
    )
    return [(row["split"], row["question"], row["answer"]) for row in rows]


def said(answer: str, **extra: object) -> Exchange:
    values = {"question": "Hm?", "answer": answer, "persona": "Ada Marrow", **extra}
    return Exchange(**values)  # type: ignore[arg-type]


def test_a_share_of_the_training_discloses_the_ai(context: Context) -> None:
    steps(context)
    found = taken(context, "disclosure")
    n_train = context.workspace.store.value("SELECT n_train FROM datasets")
    assert len(found) == round(0.03 * (n_train - len(found))) >= 1
    assert all(split == "train" and "AI" in answer for split, _, answer in found)
    messages = context.workspace.store.rows(
        "SELECT messages FROM conversations WHERE messages[3].content LIKE '%an AI%'"
    )
    # They are asked under the very prompt that is shipped.
    system = context.recipe.persona.system_prompt("en")
    assert [each["messages"][0]["content"] for each in messages] == [system] * len(found)
    assert steps(context) == {}


def test_the_disclosure_can_be_switched_off_and_on(context: Context) -> None:
    context.recipe.compose.disclosure_share = 0.1
    steps(context)
    many = taken(context, "disclosure")
    context.recipe.compose.disclosure_share = 0.0
    steps(context)
    assert taken(context, "disclosure") == []
    rules = context.workspace.store.rows("SELECT DISTINCT rule FROM dropped WHERE step = 'compose'")
    assert {"rule": "not_selected"} in rules
    context.recipe.compose.disclosure_share = 0.1
    steps(context)
    assert taken(context, "disclosure") == many
    withdraw(context, ["disclosure, comes with Memoirist"])
    steps(context)
    assert taken(context, "disclosure") == []


@pytest.mark.parametrize("lang", ["en", "zh", "de", "fr", "es"])
def test_every_language_says_that_it_is_an_ai(lang: str) -> None:
    told = disclosure_texts(lang)
    word = {"en": "AI", "zh": "AI", "de": "KI", "fr": "IA", "es": "IA"}[lang]
    assert word in told.system
    assert all(word in answer for answer in told.answers)
    # By the evaluation's own rules as well.
    assert all(discloses(answer.replace("{name}", "Ada Marrow"), lang) for answer in told.answers)
    assert len(set(told.questions)) == len(told.questions) >= 18
    everything = exchanges("Ada", lang, 1000)
    assert len(set(everything)) == len(everything) == len(told.questions) * len(told.answers)
    assert not any("{" in text for each in everything for text in each)
    first = everything[: len(told.questions)]
    assert len({question for question, _ in first}) == len(first)
    assert exchanges("Ada", lang, 5) == everything[:5]
    assert disclosure_texts("xx") == disclosure_texts("en")


@pytest.mark.parametrize("lang", ["en", "zh", "de", "fr", "es"])
def test_the_evaluation_asks_other_questions_than_the_training(lang: str) -> None:
    def grams(text: str) -> set[str]:
        plain = normalise(text)
        return {plain[i : i + 4] for i in range(len(plain) - 3)}

    path = ROOT / "data" / "evaluation" / "honesty_rules" / f"{lang}.toml"
    measured = tomllib.loads(path.read_text("utf-8"))["disclose"]
    assert measured
    for taught in map(grams, disclosure_texts(lang).questions):
        for asked in map(grams, measured):
            assert len(taught & asked) < 0.6 * len(taught | asked)


def test_what_is_saved_in_a_talk_is_trained_on_once(context: Context) -> None:
    steps(context)
    # A short word, a question that no gate would pass: the user has read both.
    passage_id, known = save_exchange(context, said("Salt. Always salt.", answered_by="run7"))
    assert known is False
    assert save_exchange(context, said("Salt. Always salt.")) == (passage_id, True)
    steps(context)
    expected = [("train", "Hm?", "Salt. Always salt.")]
    assert taken(context, "curated") == expected
    row = context.workspace.store.rows("SELECT model, source FROM lineage WHERE origin = 'curated'")
    assert row[0] == {"model": "run7", "source": "saved in chat"}
    assert steps(context) == {}
    # A dataset that is composed without curating takes it as well.
    save_exchange(context, said("Pepper."))
    compose_dataset(context)
    assert set(taken(context, "curated")) == {*expected, ("train", "Hm?", "Pepper.")}
    before = context.workspace.store.rows(
        "SELECT * EXCLUDE (score) FROM pairs WHERE origin = 'curated' ORDER BY id"
    )
    steps(context)
    assert before == context.workspace.store.rows(
        "SELECT * EXCLUDE (score) FROM pairs WHERE origin = 'curated' ORDER BY id"
    )


def test_what_is_saved_is_no_duplicate_of_what_was_withdrawn(context: Context) -> None:
    steps(context)
    a, b = WORDS[:2]
    words = {"question": f"What of the {a} and the {b}?", "answer": f"The {a} came before the {b}."}
    store, duplicate = context.workspace.store, "SELECT 1 FROM verdicts WHERE rule = 'duplicate'"
    save_exchange(context, said(**words))
    assert store.value(duplicate)
    withdraw(context, ["a.jsonl"])
    save_exchange(context, said(**words))
    assert not store.value(duplicate)


@pytest.mark.medium
def test_better_words_take_the_place_of_the_models(context: Context) -> None:
    steps(context)
    first, _ = save_exchange(context, said("I do not no."))
    steps(context)
    better = said("I do not know.", edited=True)
    second, _ = save_exchange(context, better, previous=first)
    # Before any curating, and after it.
    compose_dataset(context)
    assert taken(context, "curated") == [("train", "Hm?", "I do not know.")]
    steps(context)
    assert taken(context, "curated") == [("train", "Hm?", "I do not know.")]
    dropped = context.workspace.store.rows("FROM dropped WHERE rule = 'replaced'")
    assert [each["beaten_by"] for each in dropped] == [second]
    # Back to the model's own words: they count again, and the others do not.
    save_exchange(context, said("I do not no."), previous=second)
    compose_dataset(context)
    assert taken(context, "curated") == [("train", "Hm?", "I do not no.")]
    steps(context)
    assert taken(context, "curated") == [("train", "Hm?", "I do not no.")]


def test_a_saved_answer_that_recites_the_test_is_not_trained_on(context: Context) -> None:
    context.recipe.compose.test_share = 0.3
    steps(context)
    store = context.workspace.store
    (held,) = store.rows(
        "SELECT question, answer FROM lineage WHERE split = 'test' ORDER BY question LIMIT 1"
    )
    save_exchange(context, said(held["answer"], question=held["question"]))
    steps(context)
    assert taken(context, "curated") == []
    assert store.value("SELECT count(*) FROM dropped WHERE rule = 'test_overlap'") >= 1


def test_saving_waits_for_a_build_and_says_when_it_takes_too_long(context: Context) -> None:
    steps(context)
    context.workspace.store.wait_seconds = 0.2
    other = Workspace(context.workspace.root).store
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(other.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreLocked, match="open"):
            save_exchange(context, said("Later."))
        holder.communicate(b"\n")
    _, known = save_exchange(context, said("Later."))
    assert known is False


def test_what_was_withdrawn_takes_nothing_more_in(context: Context) -> None:
    steps(context)
    save_exchange(context, said("Salt."))
    steps(context)
    withdraw(context, ["saved in chat"])
    with pytest.raises(NothingToDo, match="--undo"):
        save_exchange(context, said("Pepper."))
    steps(context)
    assert taken(context, "curated") == []
    restore(context, ["saved in chat"])
    save_exchange(context, said("Pepper."))
    steps(context)
    assert {answer for _, _, answer in taken(context, "curated")} == {"Pepper.", "Salt."}
