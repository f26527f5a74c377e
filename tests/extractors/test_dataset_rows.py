"""Datasets: every schema is found, good rows become exchanges, bad ones verdicts with their row."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import memoirist.data.store.exchanges
from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.store.exchanges import forget, sweep, take
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.dataset.dataset_rows import Batches
from memoirist.extractors.dataset.dataset_schema import detect
from memoirist.extractors.dataset.row_chunks import unwrap
from tests.support.stores import empty_store

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = {
    "messages": [
        {"role": "system", "content": "You are Edith."},
        {"role": "user", "content": "What did you weigh?"},
        {"role": "assistant", "content": "Sugar."},
    ]
}


_TAKEN = """
SELECT source_row, ord, thread_id AS thread, system, question, answer, notes,
       NULL AS fault, NULL AS reason, tool_turns
FROM exchanges
UNION ALL
SELECT score::BIGINT, 0, NULL, NULL, NULL, NULL, NULL, rule,
       regexp_replace(reason, '^row \\d+: ', ''), NULL FROM verdicts
WHERE subject = 'rows' AND rule <> 'row_twin'
ORDER BY 1, 2
"""


def written(tmp_path: Path, *rows: object, name: str = "chat.jsonl") -> Path:
    path = tmp_path / name
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines), "utf-8")
    return path


def taken(
    path: Path, *, carefully: bool = False, **settings: object
) -> tuple[str, list[dict[str, Any]]]:
    """Return what the extract line tells and what the rows became, refused ones among them."""
    source = read_source(SourceRef(path=path, format="dataset"), NOW)
    rows = extract(source, ExtractSettings().model_copy(update=settings))
    assert isinstance(rows.exchanges, Batches)
    if carefully:
        rows.exchanges.parts = {}
    with TemporaryDirectory() as folder:
        store = empty_store(Path(folder) / "memoirist.duckdb")
        with store.writing() as tx:
            forget(tx, source.id)
            take(tx, source, rows, None, NOW)
        with store.writing() as tx:
            sweep(tx, source.id)
        return rows.told, store.rows(_TAKEN)


def exchanges(path: Path, **settings: object) -> list[tuple[object, ...]]:
    _, rows = taken(path, **settings)
    return [
        (r["source_row"], r["ord"], r["system"], r["question"], r["answer"])
        for r in rows
        if r["fault"] is None
    ]


def faults(path: Path) -> list[tuple[int, str, str]]:
    return [(r["source_row"], r["fault"], r["reason"]) for r in taken(path)[1] if r["fault"]]


def chat(*messages: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


QA = ("Why?", "So.")
USER, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}
SCHEMAS: list[tuple[str, object]] = [
    ("alpaca", {"instruction": "Why?", "input": "", "output": "So."}),
    ("openorca", {"id": 1, "system_prompt": "", "question": "Why?", "response": "So."}),
    ("prompt/completion", {"prompt": "Why?", "completion": "So."}),
    ("prompt/completion", {"prompt": "Why?", "completion": "So.", "label": True}),
    ("prompt/text", {"prompt": "Why?", "text": "So."}),
    ("question/answer", {"question": "Why?", "answer": "So."}),
    ("input/target", {"kind": "NLI", "input": "Why?", "target": "So."}),
    ("input/output", {"input": "Why?", "output": "So."}),
    ("content/summary", {"content": "Why?", "summary": "So."}),
    ("instruction/response", {"instruction": "Why?", "response": "So.", "score": 3}),
    ("sharegpt", {"conversations": [USER, GPT]}),
    ("sharegpt", {"conversations": [USER, GPT], "tools": "[]"}),
    ("sharegpt", {"messages": [USER, GPT]}),
    ("messages", chat(("user", "Why?"), ("assistant", "So."))),
    ("messages", {"conversation": chat(("user", "Why?"), ("assistant", "So."))["messages"]}),
    ("messages", {"completion": chat(("user", "Why?"), ("assistant", "So."))["messages"]}),
    ("role/message", {"conversation": [{"role": "human", "message": "Why?"},
                                       {"role": "assistant", "message": "So."}]}),
    ("human/assistant", {"conversation": [{"human": "Why?", "assistant": "So."}]}),
    ("turns", ["Why?", "So."]),
    ("chatml", {"text": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>"}),
    ("marked text", {"text": "### Human: Why?### Assistant: So."}),
    ("marked text", {"text": "### Instruction:\nWhy?\n\n### Response:\nSo."}),
    ("marked text", {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: No"}),
    ("preference", {"conversations": [USER], "chosen": GPT, "rejected": {**GPT, "value": "No."}}),
    ("preference", {"prompt": "Why?", "chosen": "So.", "rejected": "No."}),
    ("preference", {"system": "", "question": "Why?", "chosen": "So.", "rejected": "No."}),
    ("preference", {"prompt": "Why?", "chosen": chat(("user", "Why?"), ("assistant", "So."))[
        "messages"], "rejected": []}),
    ("self-instruct", {"instruction": "Why?", "instances": [{"input": "", "output": "So."}]}),
    ("oasst tree", {"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Why?",
        "replies": [{"role": "assistant", "text": "No.", "rank": 1, "replies": []},
                    {"role": "assistant", "text": "So.", "rank": 0, "replies": []}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row"), SCHEMAS)
def test_every_schema_is_found_and_read(tmp_path: Path, name: str, row: object) -> None:
    path = written(tmp_path, row)
    told, _ = taken(path)
    assert told.startswith(f"schema {name}: ")
    assert [each[3:] for each in exchanges(path)] == [QA]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_header_tells_what_parts_the_columns(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"instruction{mark}input{mark}output\nWhy?{mark}{mark}So.\n", "utf-8")
    told, _ = taken(path)
    assert told.startswith("schema alpaca: ")
    assert [each[3:] for each in exchanges(path)] == [QA]


def test_the_context_stands_under_the_instruction(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add.", "input": given, "output": told, "system": "Be brief."}
        for given, told in (("1 and 2", "3"), ("", "What?"), (None, "No."))
    ]
    found = exchanges(written(tmp_path, *rows))
    assert [each[3] for each in found] == ["Add.\n1 and 2", "Add.", "Add."]
    assert {each[2] for each in found} == {"Be brief."}


def test_history_and_instances(tmp_path: Path) -> None:
    row = {"instruction": "And?", "output": "No.", "history": [["Why?", "So."]]}
    assert [e[1:] for e in exchanges(written(tmp_path, row))] == [
        (0, None, "Why?", "So."),
        (1, None, "And?", "No."),
    ]
    tasks = {"instruction": "Add.", "instances": [{"input": n, "output": n} for n in "12"]}
    found = taken(written(tmp_path, tasks))[1]
    assert [(r["ord"], r["thread"], r["question"]) for r in found] == [
        (0, None, "Add.\n1"),
        (0, None, "Add.\n2"),
    ]


def test_messages_of_a_file_form_trees(tmp_path: Path) -> None:
    def message(name: str, parent: str | None, role: str, text: str, rank: int | None) -> object:
        return {"message_id": name, "parent_id": parent, "role": role, "text": text, "rank": rank}

    path = written(
        tmp_path,
        message("a", None, "prompter", "Why?", None),
        message("b", "a", "assistant", "No.", 1),
        message("c", "a", "assistant", "So.", 0),
        message("d", "gone", "assistant", "Lost.", 0),
    )
    assert [e[3:] for e in exchanges(path)] == [QA]
    assert sorted(f[:2] for f in faults(path)) == [(2, "row_passed_over"), (4, "row_order")]


def test_turns_are_joined_and_weighed(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Two"}, {"type": "text", "value": "parts"}]
    row = chat(("user", "One."), ("user", parts), ("assistant", "Yes."), ("user", "And?"))
    (found,) = taken(written(tmp_path, row))[1]
    assert (found["question"], found["answer"]) == ("One.\n\nTwo\nparts", "Yes.")
    assert found["notes"] == "joined_turns:1 unanswered:1"
    weighed = chat(("user", "Why?"), ("assistant", "So."), ("user", "And?"), ("assistant", "No."))
    weighed["messages"][1]["weight"] = 0  # type: ignore[index]
    assert [e[3:] for e in exchanges(written(tmp_path, weighed))] == [("And?", "No.")]


@pytest.mark.parametrize(
    ("bad", "rule", "why"),
    [
        ("{not json", "row_broken", "not JSON"),
        ({"text": "hello"}, "row_shape", "raw text among exchanges; .*--text-as completion"),
        ({"note": "hello"}, "row_shape", r"no list 'messages' \(its columns: note\)"),
        ({"question": "Why?"}, "row_shape", r"no list 'messages' \(its columns: question\)"),
        ([1, 2], "row_shape", "message 1 is not a JSON object"),
        (7, "row_shape", r"not a JSON object \(int\)"),
        (chat(("user", "Hi"), ("robot", "Hi")), "row_role", "message 2 has the unknown role 'rob"),
        (chat(("user", "  "), ("assistant", "Hi")), "row_empty", "message 1 has no text content"),
        (chat(("user", "Hi"), ("assistant", None)), "row_empty", "message 2 has no text content"),
        (chat(("user", "Hi")), "row_no_answer", "no assistant turn"),
        (chat(("system", "Be"), ("assistant", "Hi")), "row_order", "the assistant speaks first"),
        (chat(("user", "Hi"), ("system", "Be"), ("assistant", "Hi")), "row_system", "message 2"),
        (chat(("system", "A"), ("system", "B"), ("user", "C"), ("assistant", "D")),
         "row_system", "message 2"),
        ({"messages": ["Hi"]}, "row_no_answer", "no assistant turn"),
        ({"messages": []}, "row_no_answer", "no assistant turn"),
        (chat(("user", "<image>Look"), ("assistant", "Hi")), "row_media", "picture"),
        (chat(("user", [{"type": "image_url"}]), ("assistant", "Hi")), "row_media", "image_url"),
        (chat(("user", "Hi"), ("assistant", "I am of {{author}}")), "row_placeholder", "author"),
    ],
)  # fmt: skip
def test_each_fault_is_a_row_of_its_own(tmp_path: Path, bad: object, rule: str, why: str) -> None:
    path = written(tmp_path, GOOD, bad, "", chat(("user", "Why?"), ("assistant", "So.")))
    ((row, found, reason),) = faults(path)
    assert (row, found) == (2, rule)
    assert re.search(why, reason)
    assert [e[0] for e in exchanges(path)] == [1, 4]


TEXT = "A raw text, with nobody asking."
ALIKE: list[object] = [
    GOOD,
    {"text": TEXT},
    {"prompt": "Why?", "completion": "So."},
    {"conversations": [USER, GPT]},
    {"messages": "broken", "text": TEXT},
    {"title": "Only a title"},
]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_rows_of_several_shapes_are_each_read_by_their_own(tmp_path: Path, first: int) -> None:
    rows = [*ALIKE[first:4], *ALIKE[:first], *ALIKE[4:]]
    path = written(tmp_path, *rows)
    found = {(question, answer) for *_, question, answer in exchanges(path, text_as="completion")}
    asked = {("What did you weigh?", "Sugar."), QA}
    assert found == {*asked, (None, TEXT)}
    carefully = taken(path, carefully=True, text_as="completion")[1]
    assert carefully == taken(path, text_as="completion")[1]
    refused = {r["source_row"]: r["fault"] for r in carefully if r["fault"]}
    assert refused == {5: "row_shape", 6: "row_shape"}


def test_rendered_chats_and_raw_texts_share_a_column(tmp_path: Path) -> None:
    rendered = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n"
    path = written(tmp_path, {"text": TEXT}, {"text": rendered}, "")
    assert [e[3:] for e in exchanges(path, text_as="completion")] == [(None, TEXT), QA]
    # Who is to be interviewed is asked about prose in a file of its own.
    assert [e[3:] for e in exchanges(path)] == [QA]
    ((row, rule, why),) = faults(path)
    assert (row, rule) == (1, "row_shape")
    assert "raw text among exchanges" in why


FLAT_ROWS: list[object] = [
    {"question": "Why?", "response": "So.", "system_prompt": "S"},
    {"question": " ", "response": "So."},
    {"question": "Why?", "response": None},
    {"question": "Why?"},
    "",
    {"question": "Why {{name}}?", "response": "I am {{ name }}."},
    {"question": "Why {{author}}?", "response": "So."},
    {"question": 5, "response": "Five."},
    {"question": ["Why?"], "response": "So."},
    "{broken",
    {"question": "What is {{x}}?", "response": "Code."},
    {"question": "[1, 2]", "response": '{"a": 1}', "system_prompt": "true"},
    {"question": True, "response": {"a": 1}},
    {"question": "-1.50", "response": 1e30},
    {"response": "Turned.\n\nRound.", "question": "水車 \u2028?", "more": {"question": 1}},
    [{"question": "Why?", "response": "So."}],
    '{"question": "Zero\\u0000?", "response": "\\ud83d\\ude00", "label": true}',
    {"question": "A <image>?", "response": "No."},
    '{"question": "Half?", "response": "\\ud800"}',
    {"question": "Labelled?", "response": "Badly.", "label": False},
    '  {"question": "Spaces?", "response": "So."}  \r',
    7,
]


def test_the_quick_way_reads_as_the_careful_one(tmp_path: Path) -> None:
    path = written(tmp_path, *FLAT_ROWS)
    quick = taken(path, persona="Ada")[1]
    assert quick == taken(path, carefully=True, persona="Ada")[1]
    assert {r["source_row"]: r["fault"] or r["question"] for r in quick} == {
        1: "Why?",
        2: "row_empty",
        3: "row_empty",
        4: "row_empty",
        6: "Why Ada?",
        7: "row_placeholder",
        8: "5",
        9: "row_shape",
        10: "row_broken",
        11: "What is {{x}}?",
        12: "[1, 2]",
        13: "row_shape",
        14: "-1.50",
        15: "水車 \u2028?",
        16: "row_shape",
        17: "Zero\u0000?",
        18: "row_media",
        19: "row_broken",
        20: "row_rejected",
        21: "Spaces?",
        22: "row_shape",
    }


CONTEXTS = [[1, 2], {"a": 1}, True, 5, 1e30, None, "", "\u3000", "[1]", "{{name}}", "<image>"]


def test_odd_contexts_and_systems_are_read_as_carefully(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"{part} {n}?", "input": "x", "output": "So.", "system": "S"} | {part: odd}
        for part in ("input", "system")
        for n, odd in enumerate(CONTEXTS)
    ]
    path = written(tmp_path, *rows)
    quick = taken(path, persona="Ada")[1]
    assert quick == taken(path, carefully=True, persona="Ada")[1]
    assert quick[0]["fault"] == "row_shape"
    assert {r["system"] for r in quick[len(CONTEXTS) :]} >= {None, "Ada"}
    texts = [r for r in rows if all(isinstance(v, str | None) for v in r.values())]
    pq.write_table(pa.Table.from_pylist(texts), tmp_path / "x.parquet")
    columns = taken(tmp_path / "x.parquet", persona="Ada")[1]
    assert columns == taken(written(tmp_path, *texts), persona="Ada")[1]
    assert {r["question"] for r in columns} >= {"input 9?\nAda", "input 7?", "system 5?\nx"}


@pytest.mark.parametrize("blank", ["\u3000", "\xa0", "\x85", "\u2028", "\v", "\x1c", " \n"])
def test_white_space_of_any_script_is_no_text(tmp_path: Path, blank: str) -> None:
    good = {"question": "Why?", "response": "So."}
    path = written(tmp_path, good, good | {"question": blank}, good | {"response": blank})
    assert [f[:2] for f in faults(path)] == [(2, "row_empty"), (3, "row_empty")]
    # A line of it is no row that can be read, unless it is JSON's own white space.
    path = written(tmp_path, good, "\u3000", " \t\r", {"question": "How?", "response": "So."})
    assert [f[:2] for f in faults(path)] == [(2, "row_broken")]
    assert [e[0] for e in exchanges(path)] == [1, 4]


def test_doubtful_rows_are_read_again_in_parts_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": f"Why {n} {{{{name}}}}?", "response": "So. " * 40} for n in range(30)]
    sql = memoirist.data.store.exchanges._DOUBTFUL_PARTS.replace("32_000_000", "1_000")
    monkeypatch.setattr(memoirist.data.store.exchanges, "_DOUBTFUL_PARTS", sql)
    sizes: list[int] = []
    reread = Batches.reread

    def counted(self: Batches, some: Any) -> Any:
        sizes.append(len(some))
        return reread(self, some)

    monkeypatch.setattr(Batches, "reread", counted)
    found = exchanges(written(tmp_path, *rows), persona="Ada")
    assert [e[0] for e in found] == list(range(1, 31))
    assert sum(sizes) == 30
    assert max(sizes) < 8


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_columns_are_read_as_lines_are(tmp_path: Path, name: str) -> None:
    rows = [each for each in FLAT_ROWS if isinstance(each, dict)]
    texts = [r for r in rows if all(isinstance(v, str | None) for v in r.values())]
    table = pa.Table.from_pylist(texts, pa.schema(
        [(column, pa.string()) for column in ("system_prompt", "response", "question")]
    ))  # fmt: skip
    if name.endswith("parquet"):
        pq.write_table(table, tmp_path / name)
    else:
        feather.write_feather(table, str(tmp_path / name))
    found = taken(tmp_path / name, persona="Ada")[1]
    assert found == taken(written(tmp_path, *texts), persona="Ada")[1]
    assert {r["fault"] for r in found} == {None, "row_empty", "row_placeholder", "row_media"}


ROWS = [{"question": f"Why {n}?", "response": f"So {n}."} for n in range(30)]


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.feather", "x.csv", "x.tsv", "x.json"])
def test_every_container_gives_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.Table.from_pylist(ROWS)
    if name.endswith("parquet"):
        pq.write_table(table, path)
    elif name.endswith("feather"):
        feather.write_feather(table, path)
    elif name.endswith("arrow"):
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    elif name.endswith("json"):
        path.write_text(json.dumps(ROWS, indent=1))
    else:
        mark = "\t" if name.endswith("tsv") else ","
        lines = [mark.join(row.values()) for row in ROWS]
        path.write_text("\n".join([mark.join(ROWS[0]), *lines]) + "\n")
    assert exchanges(path) == exchanges(written(tmp_path, *ROWS))


def test_wrapped_rows() -> None:
    row = {"question": "Why?", "response": "So."}
    hub = {"features": [], "rows": [{"row_idx": 0, "row": row}], "num_rows_total": 1}
    assert unwrap(hub) == [row]
    assert unwrap({"train": [["a", "b"]]}) == [["a", "b"]]
    assert unwrap({"data": [row], "version": 1}) == [row]
    assert unwrap(row) == [row]
    assert unwrap({"train": [row], "validation": [row, row]}) == [row] * 3
    assert unwrap({"version": 1, "train": [row], "test": [row]}) == [row] * 2


@pytest.mark.parametrize(("speaker", "time"), [("user", "ts"), ("sender", "time")])
def test_chats_of_several_people_are_no_raw_texts(tmp_path: Path, speaker: str, time: str) -> None:
    rows = [{speaker: name, "text": f"My {name}.", time: "1684358000.0"} for name in "ABA"]
    with pytest.raises(SourceUnreadable, match="make it a chat; give an export"):
        taken(written(tmp_path, *rows))
    assert detect(rows[:1], {}, "one").kind == "text"


def test_spaces_between_characters_go(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps({"train": [["道 歉 ！ 再 找 你", "我 用 S E E D", "心 疼"]]}))
    assert exchanges(path)[0][3:] == ("道歉！再找你", "我用S E E D")


def test_columns_can_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": "Why?", "b": "So.", "c": "x"})
    with pytest.raises(SourceUnreadable, match=r"columns \(a, b, c\) match no known schema.*--map"):
        taken(path)
    assert exchanges(path, columns={"question": "a", "answer": "b"})[0][3:] == QA
    with pytest.raises(SourceUnreadable, match="no column 'z'"):
        taken(path, columns={"question": "z", "answer": "b"})
    with pytest.raises(SourceUnreadable, match="unknown part 'asks'"):
        taken(path, columns={"asks": "a"})
    with pytest.raises(SourceUnreadable, match="map question and answer"):
        taken(path, columns={"question": "a"})


def test_raw_text_is_learnt_as_it_stands_or_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, *({"text": f"Line {n}.\nAnd more."} for n in range(3)), {"text": ""})
    assert exchanges(path, text_as="completion")[0][3:] == (None, "Line 0.\nAnd more.")
    source = read_source(SourceRef(path=path, format="dataset"), NOW)
    rows = extract(source, ExtractSettings())
    assert [d.title for d in rows.documents] == ["row 1", "row 2", "row 3"]
    assert [b.text for b in rows.blocks][:2] == ["Line 0.", "And more."]
    assert [(v.subject, v.rule) for v in rows.verdicts] == [("rows", "row_empty")]


def test_bytes_that_are_not_utf8_are_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    latin = json.dumps({"question": "caf@", "answer": "Yes."}).encode().replace(b"@", b"\xe9")
    path.write_bytes(b'{"question": "Why?", "answer": "So."}\n' + latin)
    assert [e[3:] for e in exchanges(path)] == [QA]
    assert faults(path) == [(2, "row_broken", "it contains bytes that are not UTF-8")]
    half = {"question": "Why?", "answer": "\ud800"}
    lone = written(tmp_path, json.dumps(half), {"question": "Why?", "answer": "So."})
    assert [f[:2] for f in faults(lone)] == [(1, "row_broken")]


@pytest.mark.parametrize("rows", [("", " "), ("{broken", "[1"), ({"question": "", "answer": ""},)])
def test_nothing_usable_is_one_clear_line(tmp_path: Path, rows: tuple[object, ...]) -> None:
    with pytest.raises(SourceUnreadable, match=r"no row of .* can be used: |has no rows; give"):
        taken(written(tmp_path, *rows))


def test_a_damaged_container_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("x.parquet", "x.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 nothing of the kind")
        with pytest.raises(SourceUnreadable, match="cannot be read"):
            taken(tmp_path / name)
