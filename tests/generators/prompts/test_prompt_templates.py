"""The prompts: one for each kind of source, versioned by content, the same on every run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.schema.errors import RecipeError
from memoirist.data.schema.records import Passage, SourceKind, content_id
from memoirist.generators.prompts.prompt_templates import (
    Prompts,
    delimiter,
    fill_prompt,
    load_prompt,
)
from memoirist.generators.prompts.source_kinds import KINDS, Kind, guess_kind
from memoirist.generators.settings import Example, InterviewSettings
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES
from tests.conftest import Command
from tests.flows.test_changed_sources import book
from tests.support.interviews import interview, questions
from tests.support.openai_server import OpenAIServer

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TEXT = "We left the village before sunrise because the mill had burnt down, and nobody spoke."


def passage(text: str = TEXT, source: str = "s", context: str | None = None) -> Passage:
    return Passage(
        id=content_id(source, text),
        source_id=source,
        document_id="d",
        ord=0,
        group_id="g",
        text=text,
        n_words=len(text.split()),
        context=context,
    )


@pytest.mark.parametrize("lang", ["en", "zh", "de"])
def test_every_kind_has_a_prompt_of_its_own_without_an_open_slot(lang: str) -> None:
    versions, systems = set(), set()
    for kind in KINDS:
        prompt = load_prompt(lang, None, kind)
        assert set(prompt.types) <= set(QUESTION_TYPES)
        brief = fill_prompt(passage(context="Before."), "Ada Quill", lang, prompt)
        versions.add(prompt.version)
        systems.add(brief.messages[0]["content"])
        assert not any("$" in message["content"] for message in brief.messages)
        assert "\n\n\n" not in brief.messages[0]["content"]
        assert TEXT in brief.messages[1]["content"]
    assert len(versions) == len(systems) == len(KINDS)


def test_other_languages_get_english_instructions_and_are_versions_of_their_own() -> None:
    german = fill_prompt(passage(), "Ada", "de", load_prompt("de", None)).messages[0]["content"]
    assert "Write the questions in German." in german
    unknown = fill_prompt(passage(), "Ada", "xx", load_prompt("xx", None)).messages[0]["content"]
    assert "the language with the code 'xx'" in unknown
    assert len({load_prompt(lang, None).version for lang in ("en", "zh", "de", "xx")}) == 4


def test_one_text_gets_one_brief_wherever_it_stands() -> None:
    first = fill_prompt(passage(source="s1"), "Ada", "en", load_prompt("en", None))
    assert first == fill_prompt(passage(source="s2"), "Ada", "en", load_prompt("en", None))
    other = fill_prompt(passage(TEXT + " Not a word."), "Ada", "en", load_prompt("en", None))
    marks = [brief.messages[1]["content"].split("\n")[1] for brief in (first, other)]
    assert marks[0].startswith("<material-")
    assert marks[0] != marks[1]


def test_no_text_can_hold_its_own_delimiter() -> None:
    first = delimiter(TEXT, "")
    assert delimiter(TEXT, "") == first
    # A text that holds the digits of the text before them gets others, as its hash is another;
    # one that held the digits of its own first turn would be given those of the second.
    assert delimiter(f"{TEXT} </material-{first}>", "") != first
    every = " ".join(f"{number:012x}" for number in range(2000))
    assert delimiter(every, first) not in every


def test_lengths_are_mixed_and_the_first_types_come_first() -> None:
    prompt = load_prompt("en", None, "essay")
    briefs = [fill_prompt(passage(f"{TEXT} {n}"), "Ada", "en", prompt) for n in range(2000)]
    classes = [brief.length_class for brief in briefs]
    assert [classes.count(k) / 2000 for k in (1, 2, 3)] == pytest.approx([0.3, 0.5, 0.2], abs=0.04)
    first = [brief.types[0] for brief in briefs]
    counts = [first.count(kind) for kind in prompt.types]
    assert counts[0] > counts[3] > counts[-1] > 0


def test_examples_are_shown_and_are_a_part_of_the_version() -> None:
    example = Example(passage="I sold $5 eggs.\n<|im_end|>", question="What did you sell?")
    with_one = load_prompt("en", None, "talk", [example])
    assert with_one.version != load_prompt("en", None, "talk").version
    system = fill_prompt(passage(), "Ada", "en", with_one).messages[0]["content"]
    assert "I sold $5 eggs." in system
    assert "Question: What did you sell?" in system
    assert "<|im_end|>" not in system


def test_an_own_file_gets_the_kind_the_examples_and_the_faults_told(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    body = "=== system ===\nBe brief. $voice\n=== context ===\n$context\n=== user ===\n{}\n"
    body += "=== repair ===\nAgain: $fault"
    mine.write_text(body.format("$open\n$passage\n$close"), "utf-8")
    example = Example(passage="I sold eggs.", question="What did you sell?")
    told = [
        fill_prompt(passage(), "Ada", "en", load_prompt("en", mine, kind, [example]))
        for kind in ("talk", "essay")
    ]
    for brief in told:
        assert brief.messages[0]["content"].startswith("Be brief. You are shown")
        assert "Question: What did you sell?" in brief.messages[0]["content"]
    assert told[0] != told[1]
    mine.write_text(body.format("nothing"), "utf-8")
    with pytest.raises(RecipeError, match=r"has no \$passage"):
        load_prompt("en", mine)
    mine.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot read the prompt file"):
        load_prompt("en", mine)


def test_the_kind_of_a_source_is_the_recipes_or_its_own() -> None:
    settings = InterviewSettings(kind="talk", kinds={"s2": "essay"})
    prompts = Prompts(settings)
    assert prompts.for_passage(passage(source="s1"), "en").kind == "talk"
    assert prompts.for_passage(passage(source="s2"), "en").kind == "essay"
    assert Prompts(InterviewSettings()).kind_of("s1") == "autobiography"
    with pytest.raises(ValueError, match="validation error"):
        InterviewSettings(kind="poem")  # type: ignore[arg-type]


I_LIVED = "I left my father's house when I was ten. I took my coat and my bread, and I ran. "
ARGUED = (
    "People suppose that comfort makes a life good; the old towns teach otherwise, where every wall"
    " was built by those who had none. Hardship sharpens what ease leaves dull, I think, and a"
    " nation that forgets how its bread was won will soon forget how to win any at all. Those who"
    " deny this have seen one town and take it for the world; others have seen none and deny more. "
)
TOLD = "The river rises in the north and joins the sea after four hundred miles of slow water. "
SPOKE = "“Come in,” I said. “Who are you?” he asked me. “Nobody at all, sir, I am lost.” "


@pytest.mark.parametrize(
    ("source", "title", "text", "kind"),
    [
        ("podcast", "Novel talks", I_LIVED, "talk"),
        ("book", "Essays, First Series", I_LIVED, "essay"),
        ("book", "The Autobiography of Ada Quill", TOLD, "autobiography"),
        ("book", "狂人日记：小说集", "我走了。", "fiction"),
        ("book", "", I_LIVED * 3, "autobiography"),
        ("text", "", ARGUED + ARGUED.replace("I think, ", ""), "essay"),
        ("text", "", TOLD * 3, "prose"),
        ("book", "", SPOKE * 3 + I_LIVED, "fiction"),
        ("book", "", "我十歲那年離開了家，帶著我的外衣和麵包，一路跑了出去。" * 3, "autobiography"),
    ],
)
def test_the_kind_is_guessed_by_source_title_and_first_person(
    source: SourceKind, title: str, text: str, kind: Kind
) -> None:
    lang = "zh" if "我" in text else "en"
    texts = [text, I_LIVED] if kind == "fiction" and lang == "en" else [text] * 3
    assert guess_kind(source, title, texts, lang)[0] == kind


def test_each_source_is_asked_by_the_prompt_of_its_kind() -> None:
    passages = [passage(TEXT, "s1"), passage(TEXT + " So it was.", "s2")]

    async def run(settings: InterviewSettings) -> set[str]:
        asked = [a async for a in interview(passages, "Ada Quill", settings, NOW)]
        return {str(q.prompt_version) for a in asked for q in questions(a)}

    with OpenAIServer() as server:
        settings = InterviewSettings(base_url=server.base_url, kinds={"s1": "talk", "s2": "prose"})
        versions = asyncio.run(run(settings))
        systems = "".join(body["messages"][0]["content"] for body in server.seen.bodies)
    assert versions == {load_prompt("en", None, kind).version for kind in ("talk", "prose")}
    assert "recorded talk" in systems
    assert "in the third person" in systems


def test_a_build_finds_the_kinds_keeps_them_and_can_be_told(
    memoirist: Command, tmp_path: Path
) -> None:
    life = tmp_path / "life.md"
    life.write_text(book(), "utf-8")
    assert memoirist("extract", str(life), "--persona", "Ada Quill").returncode == 0
    kinds = "SELECT rule FROM verdicts WHERE step = 'kind'"
    with OpenAIServer() as server:
        done = memoirist("ask", "--base-url", server.base_url, "--model", "interviewer")
        assert done.returncode == 0, done.stderr
        assert "is treated as autobiography" in done.stderr
        assert "asked_as_autobiography" in memoirist("sql", kinds).stdout
        before = server.seen.requests
        done = memoirist("ask", "--set", "interview.kinds={'life.md' = 'essay'}")
        assert done.returncode == 0, done.stderr
        assert server.seen.requests == 2 * before
        assert "thinks aloud on paper" in server.seen.bodies[-1]["messages"][0]["content"]
        done = memoirist("ask", "--set", "interview.kinds={'deaths.md' = 'essay'}")
    assert done.returncode == 1
    assert "interview.kinds names 'deaths.md'" in done.stderr
    assert "'life.md'" in done.stderr
