"""Datasets in the store: from rows to pairs, a change changing little, all accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memoirist.data.composition.export_formats import export
from memoirist.data.schema.errors import NothingToDo, RecipeError, SourceUnreadable
from memoirist.data.schema.records import Conversation
from memoirist.flows.cli.options import mapped, mixes
from memoirist.flows.recipe import Mixed, load
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents


def row(n: int, **extra: object) -> dict[str, object]:
    said = f"The wheel of the mill number {n} went round because of water {n * 7} and stone {n}."
    return {"question": f"What of number {n}?", "response": said, **extra}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    # Without the disclosing exchanges: these tests count what comes of the rows alone.
    wanted = {"persona.name": "Ada", "compose.disclosure_share": 0.0}
    return Context(Workspace(tmp_path / "ws"), load(None, wanted), Report(quiet=True))


def steps(context: Context, path: Path, *rows: object, compose: bool = True) -> dict[str, int]:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in rows)
    path.write_text(text, "utf-8")
    context.changed.clear()
    extract_sources(context, [str(path)])
    for step in (split_documents, ask_questions, curate_pairs):
        step(context)
    if compose:
        compose_dataset(context)
    found = context.workspace.store.rows("FROM coverage")
    assert all(each["found"] == each["kept"] + each["dropped"] for each in found)
    return dict(context.changed)


def ids(context: Context, table: str = "pairs") -> dict[str, str]:
    column = {"pairs": "question", "passages": "text", "questions": "text"}[table]
    found = context.workspace.store.rows(f"SELECT id, {column} AS text FROM {table}")
    return {each["id"]: each["text"] for each in found}


def rules(context: Context, subject: str) -> dict[str, int]:
    found = context.workspace.store.rows(
        "SELECT rule, count(*) AS n FROM verdicts WHERE subject = ? GROUP BY rule", [subject]
    )
    return {each["rule"]: each["n"] for each in found}


def test_a_row_becomes_passage_question_and_pair(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "a.jsonl", row(1, system_prompt="Be brief."), row(2), "{broken")
    store = context.workspace.store
    found = store.rows("FROM pairs ORDER BY question")
    assert [(p["question"], p["system"], p["origin"]) for p in found] == [
        ("What of number 1?", "Be brief.", "given"),
        ("What of number 2?", None, "given"),
    ]
    assert all(0.8 < p["score"] <= 1 and len(p["id"]) == 16 for p in found)
    assert store.value("SELECT n_words FROM passages WHERE source_row = 1") == 16
    rows = store.rows("SELECT * FROM coverage WHERE subject = 'rows'")
    assert [(r["found"], r["kept"], r["by_rule"]) for r in rows] == [(3, 2, "row_broken 1")]
    traced = store.rows("SELECT question, answer, location FROM lineage ORDER BY question")
    assert [each["question"] for each in traced] == ["What of number 1?", "What of number 2?"]
    assert store.value("SELECT reason FROM dropped WHERE subject = 'rows'").startswith("row 3: ")


def test_a_rerun_finds_nothing_and_a_changed_row_changes_itself(
    context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    steps(context, path, *map(row, range(12)))
    before = {t: ids(context, t) for t in ("passages", "questions", "pairs")}
    assert steps(context, path, *map(row, range(12))) == {}
    steps(context, path, row(99), *map(row, range(11)), compose=False)
    for table, known in before.items():
        after = ids(context, table)
        assert len(known.keys() - after.keys()) == 0  # an earlier dataset holds the one that left
        assert len(after.keys() - known.keys()) == 1
    gone = "SELECT question FROM dropped d JOIN pairs p ON p.id = d.subject_id WHERE rule = "
    assert context.workspace.store.value(f"{gone}'superseded'") == "What of number 11?"
    held = "SELECT count(*) FROM lineage"
    assert context.workspace.store.value(held) == 12
    steps(context, path, *map(row, range(12)), compose=False)
    assert ids(context, "pairs") == before["pairs"]
    assert "superseded" not in rules(context, "pairs")


def test_twins_and_duplicates(context: Context, tmp_path: Path) -> None:
    loud = {key: str(value).upper() + "!!" for key, value in row(1).items()}
    long = {
        "messages": [
            {"role": role, "content": text}
            for role, text in (("user", "What of number 1?"), ("assistant", "Round."),
                               ("user", "And two?"), ("assistant", "As well."))
        ]
    }  # fmt: skip
    steps(context, tmp_path / "a.jsonl", row(1), row(2), row(1), loud)
    assert rules(context, "rows") == {"row_twin": 1}
    assert rules(context, "pairs") == {"duplicate": 1}
    dropped = context.workspace.store.rows("FROM dropped WHERE rule IN ('row_twin', 'duplicate')")
    assert {d["beaten_by"] for d in dropped} <= ids(context).keys()
    (tmp_path / "b").mkdir()
    again = {**long, "id": 2}
    steps(context, tmp_path / "b" / "c.jsonl", long, again, {"messages": long["messages"][:2]})
    threads = context.workspace.store.rows(
        "SELECT thread_id, list(question ORDER BY ord) AS asked FROM pairs p JOIN sources s"
        " ON s.id = p.source_id WHERE s.title = 'C' GROUP BY thread_id ORDER BY len(asked)"
    )
    assert [t["asked"] for t in threads] == [
        ["What of number 1?"],
        ["What of number 1?", "And two?"],
    ]


def test_what_is_found_in_texts_is_flagged_and_masked(context: Context, tmp_path: Path) -> None:
    rows = [
        {"question": "Your mail?", "response": "Write to ada@example.org, please."},
        {"question": "Odd <|im_end|> token?", "response": "It is harmless."},
        {"question": "Hidden?", "response": "Zero\u200bwidth."},
    ]
    steps(context, tmp_path / "a.jsonl", *rows)
    flags = {"masked_email": 1, "flag_control": 1, "flag_invisible": 1}
    assert rules(context, "passages") == flags
    assert context.workspace.store.value("SELECT count(*) FROM kept") == 3
    messages = context.workspace.store.value("SELECT messages::VARCHAR FROM conversations"
                                             " WHERE messages::VARCHAR LIKE '%mail?%'")  # fmt: skip
    assert "[e-mail]" in messages
    assert context.workspace.store.value("SELECT count(*) FROM verdicts WHERE reason = ''") == 0


def test_a_refused_dataset_leaves_what_was_read_before(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    steps(context, path, *map(row, range(3)))
    before = ids(context)
    path.write_text("\n".join(["{broken"] * 3), "utf-8")
    with pytest.raises(SourceUnreadable, match="not JSON"):
        extract_sources(context, [str(path)])
    path.write_text('{"question": "", "answer": "So."}\n{"question": "Why?"}\n', "utf-8")
    with pytest.raises(SourceUnreadable, match="row 1: its 'question' is empty"):
        extract_sources(context, [str(path)])
    assert ids(context) == before
    assert rules(context, "sources") == {"source_unreadable": 1}


def test_the_best_of_many_are_taken_and_the_others_told(context: Context, tmp_path: Path) -> None:
    context.recipe.compose.max_pairs = 20
    words = ("lamp", "rope", "door", "salt", "horse", "bridge", "candle", "letter")
    rows = [
        {
            "question": f"What about the {first} and the {second} in those days?",
            "response": " ".join(f"{first} {second} {n} {k}, {n + k}." for k in range(n % 9 + 1)),
        }
        for n, (first, second) in enumerate((a, b) for a in words for b in words)
    ]  # fmt: skip
    steps(context, tmp_path / "a.jsonl", *rows)
    store = context.workspace.store
    taken = store.value("SELECT count(DISTINCT pair_id) FROM lineage")
    assert 15 <= taken <= 20
    left_out = rules(context, "pairs")
    assert left_out.keys() <= {"not_selected", "test_overlap", "validation_overlap"}
    assert sum(left_out.values()) == 64 - taken
    least = store.value("SELECT min(score) FROM lineage")
    assert store.value("SELECT count(*) FROM pairs WHERE score > ?", least) <= 20 * 1.5
    dataset = store.value("SELECT id FROM datasets")
    assert steps(context, tmp_path / "a.jsonl", *rows) == {}
    assert store.value("SELECT id FROM datasets") == dataset


def test_a_share_is_mixed_in_and_only_trained_on(context: Context, tmp_path: Path) -> None:
    general = [
        {"instruction": f"Add {n} and 1.", "input": "", "output": f"That is {n + 1}."}
        for n in range(200)
    ]
    mixed = tmp_path / "general.jsonl"
    mixed.write_text("\n".join(map(json.dumps, general)), "utf-8")
    context.recipe.sources.mix = [Mixed(source=str(mixed), share=0.2)]
    path = tmp_path / "own.jsonl"
    steps(context, path, *map(row, range(100)))
    store = context.workspace.store
    found = store.rows(
        "SELECT split, mix_share IS NOT NULL AS mixed, count(*) AS n FROM lineage l"
        " JOIN sources s ON s.id = l.source_id GROUP BY ALL"
    )
    n = {(f["split"], f["mixed"]): f["n"] for f in found}
    assert set(n) == {("train", False), ("validation", False), ("test", False), ("train", True)}
    assert n["train", True] == round((n["train", False] + n["train", True]) * 0.2)
    assert rules(context, "pairs") == {"not_selected": 200 - n["train", True]}
    roles = (
        "SELECT DISTINCT messages[1].role FROM conversations WHERE messages::VARCHAR LIKE '%Add%'"
    )
    assert store.value(roles) == "user"  # it gets no prompt of the persona's
    assert persona_language(context) == "en"
    assert steps(context, path, *map(row, range(100))) == {}
    context.recipe.sources.mix[0].share = 0.1
    assert steps(context, path, *map(row, range(100)))["compose"] > 0
    newest = "(SELECT max_by(id, used_at) FROM datasets)"
    lines = f"FROM lineage WHERE source = 'General' AND dataset_id = {newest}"
    assert store.value(f"SELECT count(DISTINCT pair_id) {lines}") < n["train", True]


def composed(context: Context) -> list[str]:
    newest = "(SELECT max_by(id, used_at) FROM datasets)"
    found = context.workspace.store.rows(
        f"SELECT unnest(pair_ids) AS id FROM conversations WHERE dataset_id = {newest}"
    )
    return [each["id"] for each in found]


def test_what_is_read_again_to_the_same_pairs_stays_in_the_next_dataset(
    context: Context, tmp_path: Path
) -> None:
    steps(context, tmp_path / "a.jsonl", *map(row, range(20)))
    before = set(composed(context))
    context.recipe.passages.mask_personal = False
    context.recipe.compose.max_pairs = 19
    steps(context, tmp_path / "a.jsonl", *map(row, range(20)))
    assert len(composed(context)) == 19
    assert before > set(composed(context))


def test_unjudged_exchanges_wait_for_curate_and_come_then(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps(context, tmp_path / "a.jsonl", *map(row, range(20)))
    other = tmp_path / "b.jsonl"
    other.write_text("\n".join(json.dumps(row(n)) for n in range(100, 120)), "utf-8")
    extract_sources(context, [str(other)])
    warned: list[str] = []
    monkeypatch.setattr(context.report, "warn", warned.append)
    compose_dataset(context)
    assert len(composed(context)) == 20
    curate_pairs(context)
    compose_dataset(context)
    assert len(composed(context)) == 40
    assert [("not judged yet" in told, ": 1;" in told) for told in warned] == [(True, True)]


def test_what_is_read_against_its_ending_is_marked(context: Context, tmp_path: Path) -> None:
    steps(context, tmp_path / "a.txt", *map(row, range(20)))
    assert rules(context, "documents") == {"read_by_content": 1}


def test_a_reading_killed_before_its_sweep_counts_for_nothing(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    twins = [row(3), row(30, system="{{name}}"), row(30, system="Ada"), "{broken"]
    steps(context, path, *map(row, range(20)))
    with monkeypatch.context() as killed:
        killed.setattr("memoirist.flows.steps.extract.exchanges.sweep", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            steps(context, path, *map(row, range(20)), *twins)
    curate_pairs(context)
    with pytest.raises(NothingToDo):
        compose_dataset(context)
    steps(context, path, *map(row, range(20)), *twins)
    assert len(composed(context)) == len(set(composed(context))) == 21
    assert rules(context, "rows") == {"row_twin": 2, "row_broken": 1}


def test_masking_turned_on_reaches_conversations(context: Context, tmp_path: Path) -> None:
    said = ("What is your mail?", "Write to ada@example.org.", "And else?", "To nobody else.")
    roles = ("user", "assistant") * 2
    talk = {"messages": [{"role": r, "content": t} for r, t in zip(roles, said, strict=True)]}
    context.recipe.passages.mask_personal = False
    steps(context, tmp_path / "a.jsonl", talk)
    context.recipe.passages.mask_personal = True
    steps(context, tmp_path / "a.jsonl", talk)
    newest = "SELECT max_by(id, used_at) FROM datasets"
    (told,) = context.workspace.store.nouns(Conversation, f"dataset_id = ({newest})")
    assert [m["content"] for m in told.messages if "Write" in m["content"]] == [
        "Write to [e-mail]."
    ]


def test_raw_texts_are_composed_and_exported(context: Context, tmp_path: Path) -> None:
    context.recipe.sources.text_as = "completion"
    texts = [
        {"text": f"Page {n} has\n" + " ".join(f"{n * k}!" for k in range(9))} for n in range(30)
    ]
    steps(context, tmp_path / "a.jsonl", *texts)
    conversations = context.workspace.store.nouns(Conversation)
    assert {len(c.messages) for c in conversations} == {1}
    out = tmp_path / "out.jsonl"
    assert export(conversations, "text", out) == 30
    lines = {json.loads(line)["text"] for line in out.read_text("utf-8").splitlines()}
    assert lines == {each["text"] for each in texts}
    assert context.workspace.store.value("SELECT count(*) FROM questions WHERE text <> ''") == 0


@pytest.mark.parametrize(("flag", "told"), [("--map", "question"), ("--mix", "a.jsonl=much")])
def test_flags_that_make_no_sense(flag: str, told: str) -> None:
    with pytest.raises(RecipeError, match=flag):
        (mapped if flag == "--map" else mixes)([told])


def test_shares_leave_room_for_the_persona() -> None:
    mix = [{"source": "a", "share": 0.5}, {"source": "b", "share": 0.45}]
    with pytest.raises(RecipeError, match="leave less than a tenth"):
        load(None, {"sources.mix": mix})
