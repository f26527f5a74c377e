"""The offline interviewer on real prose: every passage asked, nothing given away, no refrain."""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.rules import check_questions
from memoirist.data.schema.records import Passage, Question, content_id
from memoirist.data.text.word_overlap import longest_shared_run
from memoirist.data.text.words import content_stems, words
from memoirist.generators.offline.interviewer import ask_offline, load_templates, offline_languages
from memoirist.generators.offline.phrases import Phrases
from memoirist.generators.prompts.prompt_templates import PROMPTS
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES

NOW = datetime(2026, 11, 21, tzinfo=UTC)
RULES = CurateSettings.model_validate({"min_score": 0})
SCENES = (
    "I was {age} years old when my father took me to {place} for the first time.",
    "General {name} received us in the hall, and I remember that I was afraid of him.",
    "In {place} the people spoke of {topic}, and nobody in {place} thought of anything else.",
    "I had always believed in {topic}, and I think so still, because nothing else lasts.",
    "My {own} was all that I possessed, and I gave a good part of my {own} away that winter.",
    "We talked about {topic} until the candle went out, and my mother said that it was enough.",
    "Mr. {name} told me never to trust a man who laughs before he has heard the end.",
    "One should always finish what one has begun; that is the lesson I learned from {topic}.",
    "He was the kind of neighbour who lends a ladder and asks for it back on the same evening.",
    "In the end I walked home alone, and the road from {place} seemed longer than ever before.",
)
FILLS = {
    "place": ("Malden", "Hampton", "Boston", "Geneva", "Burlington", "Newport", "Trenton"),
    "name": ("Armstrong", "Keimer", "Ruffner", "Bradford", "Denham", "Curry", "Donald"),
    "topic": ("slavery", "education", "printing", "farming", "politics", "business", "religion"),
    "own": ("library", "newspaper", "printing-house", "school", "workshop", "collection"),
}


def _passage(number: int, text: str) -> Passage:
    return Passage(
        id=content_id("offline", number, text), source_id="s", document_id="d", ord=number,
        group_id="g", text=text, n_words=len(words(text)),
    )  # fmt: skip


def _prose(n_passages: int) -> list[Passage]:
    made = []
    for number in range(n_passages):
        seed = random.Random(number)
        fills = {name: seed.choice(values) for name, values in FILLS.items()}
        scenes = seed.sample(SCENES, 7)
        text = " ".join(scene.format(age=seed.randrange(6, 60), **fills) for scene in scenes)
        made.append(_passage(number, text))
    return made


def _asked(passages: Sequence[Passage], lang: str = "en", persona: str = "") -> list[Question]:
    rows = ask_offline(passages, lang, NOW, persona)
    assert not rows.verdicts, rows.verdicts[0]
    return list(rows.questions)


@pytest.fixture(scope="module")
def asked() -> tuple[list[Passage], list[Question]]:
    passages = _prose(600)
    return passages, _asked(passages)


def test_every_passage_gets_one_question(asked: tuple[list[Passage], list[Question]]) -> None:
    passages, questions = asked
    assert [q.passage_id for q in questions] == [p.id for p in passages]
    for question in questions:
        assert question.origin == "template"
        assert question.model is None
        assert question.type in QUESTION_TYPES
        assert question.prompt_version == load_templates("en").version


def test_no_question_gives_its_answer_away(asked: tuple[list[Passage], list[Question]]) -> None:
    passages, questions = asked
    text_of = {p.id: p.text for p in passages}
    pairs = [(question.text, text_of[question.passage_id]) for question in questions]
    assert {found.rule for found in check_questions(pairs, "en", RULES)} == {None}
    for question in questions:
        answer = text_of[question.passage_id]
        assert longest_shared_run(words(question.text), words(answer)) < 4
        stems = content_stems(words(answer), "en")
        assert len(content_stems(words(question.text), "en") & stems) <= 0.15 * len(stems)


def test_no_opening_is_a_refrain(asked: tuple[list[Passage], list[Question]]) -> None:
    _, questions = asked
    openers = Counter(tuple(words(q.text)[:2]) for q in questions)
    assert openers.most_common(1)[0][1] <= 0.08 * len(questions)
    assert len(Counter(q.type for q in questions)) == len(QUESTION_TYPES)
    assert len({q.text for q in questions}) == len(questions)


def test_lengths_are_mixed(asked: tuple[list[Passage], list[Question]]) -> None:
    lengths = [len(words(q.text)) for q in asked[1]]
    share = {
        "short": sum(n <= 8 for n in lengths) / len(lengths),
        "long": sum(n >= 21 for n in lengths) / len(lengths),
    }
    assert 0.2 <= share["short"] <= 0.4
    assert 0.1 <= share["long"] <= 0.3


def test_the_order_of_the_passages_changes_nothing() -> None:
    passages = _prose(60)
    shuffled = random.Random(1).sample(passages, len(passages))
    first = {q.passage_id: q for q in _asked(passages)}
    assert first == {q.passage_id: q for q in _asked(passages)}
    assert first == {q.passage_id: q for q in _asked(shuffled)}


def test_no_passages_no_questions() -> None:
    rows = ask_offline([], "en", NOW)
    assert not rows.questions
    assert not rows.verdicts


def test_a_passage_without_a_phrase_is_still_asked() -> None:
    text = "and then it was so and so it was and that is how it was then and ever since. " * 8
    (question,) = _asked([_passage(1, text)])
    assert question.text.endswith(("?", "."))
    assert "{" not in question.text


def test_an_unknown_language_leaves_a_verdict_for_each() -> None:
    rows = ask_offline(_prose(3), "fi", NOW)
    assert not rows.questions
    assert [v.rule for v in rows.verdicts] == ["question_language"] * 3
    assert all(v.next_step and "'fi'" in v.reason and not v.keep for v in rows.verdicts)


def test_the_persona_is_never_named() -> None:
    passages = _prose(80)
    for question in _asked(passages, persona="Samuel Armstrong"):
        assert "Armstrong" not in question.text


def test_key_phrases_are_names_and_nouns() -> None:
    passages = _prose(200)
    finder = Phrases([p.text for p in passages], load_templates("en").words)
    text = (
        "I met General Armstrong in Malden. My printing-house was closed, and we spoke of "
        'slavery. "My horse was ill," he said of slavery.'
    )
    found = {phrase.text: phrase.kind for phrase in finder.find(text)}
    assert found["General Armstrong"] == "person"
    assert found["Malden"] == "place"
    assert found["your printing-house"] == "own"
    assert found["slavery"] == "general"
    assert "your horse" not in found


def test_chinese_in_the_script_of_the_passage() -> None:
    lines = (
        "孔乙己是站着喝酒而穿长衫的唯一的人。",
        "掌柜说，孔乙己欠十九个钱呢。",
        "鲁镇的酒店的格局，是和别处不同的。",
        "我从十二岁起，便在镇口的咸亨酒店里当伙计。",
        "那时我还怕掌柜，但孔乙己一到店，所有喝酒的人便都看着他笑。",
        "后来掌柜取下粉板，说孔乙己长久没有来了。",
        "我觉得鲁镇的人待他并不坏。",
    )
    passages = [_passage(n, "".join(random.Random(n).sample(lines, 6))) for n in range(40)]
    questions = _asked(passages, "zh")
    assert any("孔乙己" in q.text or "掌柜" in q.text for q in questions)
    openers = Counter(tuple(words(q.text)[:2]) for q in questions)
    assert openers.most_common(1)[0][1] <= max(2, 0.08 * len(questions))
    text = "閏土說這鎮上的人們對我們還沒有什麼話講，後來從裡邊來了個學生。" * 4
    (old,) = _asked([_passage(1, text)], "zh")
    assert not set("说这镇对们还没么话讲后里来个学问谁为时") & set(old.text)


TONGUES = {
    "de": "Ich wurde in Weimar geboren und lebte in Weimar, wo mein Vater ein Geschäft hatte. "
    "Damals hatte ich Angst, aber Goethe sagte, daß alles gut werde. ",
    "fr": "Je naquis à Genève et je passai mon enfance à Genève avec mon père. J'avais peur de la "
    "nuit, mais mon cousin riait dans le jardin. ",
    "es": "Yo nací en Toledo y viví en Toledo hasta los doce años con mi madre. Tenía miedo de la "
    "noche, pero mi madre me contaba historias. ",
}


@pytest.mark.parametrize("lang", TONGUES)
def test_other_languages_are_asked_in_their_own(lang: str) -> None:
    questions = _asked([_passage(n, TONGUES[lang] * 3 + str(n)) for n in range(8)], lang)
    assert len({q.text for q in questions}) == 8
    assert {q.prompt_version for q in questions} == {load_templates(lang).version}


@pytest.mark.parametrize("lang", ["en", "zh", "de", "fr", "es"])
def test_template_files_are_whole(lang: str) -> None:
    assert lang in offline_languages()
    parsed = tomllib.loads((PROMPTS / f"offline.{lang}.toml").read_text("utf-8"))
    kinds = {"any", "person", "place", "own", "general", "name", "doing", "year"}
    for template in load_templates(lang).templates:
        slot = f"{{{template.kind}}}"
        assert (slot in template.text) == (template.kind in kinds), template.text
        assert template.text.count("{") == (template.kind != "bare")
    filled = [(template.fill("Anna Maria Xyz"), "") for template in load_templates(lang).templates]
    for (text, _), found in zip(filled, check_questions(filled, lang, RULES), strict=True):
        # One sentence is little to tell a language by; the interviewer then takes another.
        assert found.rule in {None, "question_language"}, (text, found)
    assert set(QUESTION_TYPES) <= parsed.keys()
