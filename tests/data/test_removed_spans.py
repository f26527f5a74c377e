"""Stock text across episodes, ads within one, and what follows from cutting them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Cut, content_id
from memoirist.data.transcripts.removed_spans import (
    apply_cuts,
    find_ads,
    find_breaks,
    find_stock,
    merge_cuts,
)
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.support.rows import NOW, block

SETTINGS = PassageSettings.model_validate({})
INTRO = (
    "Welcome to the yard, the weekly talk about wooden boats and about all of those who build them"
    " with their own hands. This is episode {n}, recorded on a cold day in the harbour of Hull."
)
WORDS = "oak ash elm keel rib mast sail rope tar nail plank adze saw tide wind rain gull".split()


def own(n: int, sentences: int = 12) -> str:
    """Return sentences that no other episode has."""
    chance = random.Random(n)
    return " ".join(
        f"I said {' '.join(chance.choices(WORDS, k=14))} in {n}x{i}." for i in range(sentences)
    )


def episode(n: int, *texts: str) -> tuple[str, list[Block]]:
    blocks = [
        Block(
            id=content_id(n, place, text),
            document_id=str(n),
            ord=place,
            kind="turn",
            text=text,
            speaker="Ben",
        )
        for place, text in enumerate(texts)
    ]
    return str(n), blocks


def stock(*episodes: tuple[str, list[Block]]) -> dict[str, list[str]]:
    def give() -> Iterable[tuple[str, Sequence[Block]]]:
        return episodes

    text = {b.id: b.text for _, blocks in episodes for b in blocks}
    return {
        each: [text[each][cut.first_char : cut.last_char] for cut in cuts]
        for each, cuts in find_stock(give, SETTINGS).items()
    }


def test_an_intro_of_three_episodes_is_cut_and_their_own_words_stay() -> None:
    episodes = [episode(n, f"{INTRO.format(n=n)} {own(n)}", own(n + 50)) for n in range(3)]
    found = stock(*episodes)
    assert found == {blocks[0].id: [INTRO.format(n=n)] for n, (_, blocks) in enumerate(episodes)}
    assert stock(*episodes[:2]) == {}
    assert stock() == {}


def test_short_lines_are_cut_and_questions_stay() -> None:
    line = "And now a look at the weather."
    asked = "If you could build one boat again out of all of them, which one would it be and why?"
    episodes = [episode(n, own(n), line, f"{own(n + 9)} {asked}", own(n + 20)) for n in range(3)]
    assert stock(*episodes) == {blocks[1].id: [line] for _, blocks in episodes}


def test_forms_of_one_recording_are_one_episode() -> None:
    text = own(1, 60)
    again = text.replace("gull", "seagull")
    episodes = [episode(n, text if n % 2 else again) for n in range(4)]
    assert stock(*episodes, episode(9, own(9)), episode(10, own(10))) == {}


def test_an_unpunctuated_run_is_cut_to_the_word() -> None:
    run = " ".join(WORDS)
    plain = ["".join(c for c in own(n) if c.isalpha() or c == " ") for n in range(3)]
    episodes = [episode(n, f"{a} {run} x{n} {a[::-1]}") for n, a in enumerate(plain)]
    found = [" ".join(cuts) for cuts in stock(*episodes).values()]
    assert len(found) == 3
    assert all(run in text and len(text) < len(run) + 10 for text in found)


def test_five_hundred_episodes_take_seconds() -> None:
    chance = random.Random(3)
    vocabulary = [f"w{n}w" for n in range(5000)]
    episodes = []
    for n in range(60):
        words = chance.choices(vocabulary, k=5000)
        text = " ".join(f"{w}." if i % 15 == 14 else w for i, w in enumerate(words))
        episodes.append(episode(n, INTRO.format(n=n), text))
    began = time.process_time()
    found = stock(*episodes)
    took = time.process_time() - began
    assert len(found) == 60
    # 300,000 words; 500 episodes of 10,000 words have 17 times as many: at most 100 CPU seconds.
    assert took < 6


@pytest.mark.parametrize(
    ("text", "ad"),
    [
        (
            "Hello. This episode is brought to you by Planks Inc. They saw oak for you. Go to"
            " planks.com/yard for 10% off. So, Ada, where were we?",
            "This episode is brought to you by Planks Inc. They saw oak for you. Go to"
            " planks.com/yard for 10% off.",
        ),
        ("And now a word from our sponsor. Buy tar.", "And now a word from our sponsor."),
        ("Go there and use code YARD22 today. Good.", "Go there and use code YARD22 today."),
        (
            "Diese Folge wird unterstützt von Holz AG. Nun gut.",
            "Diese Folge wird unterstützt von Holz AG.",
        ),
        ("本期节目由木材公司赞助播出。我们开始吧。", "本期节目由木材公司赞助播出。"),
        ("The race was sponsored by the brewery, and our sponsor was kind.", None),
        ("We use code review for that. See example.com/a for more.", None),
        ("I gave them a promo code once.", None),
    ],
)
def test_ads(text: str, ad: str | None) -> None:
    found = [text[cut.first_char : cut.last_char] for cut in find_ads(block(0, text, "turn"))]
    assert found == ([ad] if ad else [])


def test_cuts_leave_the_rest_and_a_verdict() -> None:
    turn, whole = block(0, "One. Two. Three.", "turn"), block(1, "Two. Two.", "turn")
    cuts = [
        Cut(block_id=turn.id, first_char=5, last_char=9, rule="stock_text", n_documents=4),
        Cut(block_id=whole.id, first_char=0, last_char=9, rule="ad"),
    ]
    kept, verdicts = apply_cuts([turn, whole], cuts, NOW)
    assert [(b.id, b.text) for b in kept] == [(turn.id, "One.\n\nThree.")]
    assert [(v.rule, v.keep, v.score) for v in verdicts] == [
        ("stock_text", True, 1.0),
        ("ad", False, 2.0),
    ]
    assert "4 episodes" in verdicts[0].reason
    assert apply_cuts([turn], [], NOW) == ([turn], [])


def test_a_new_episode_splits_only_what_it_touches(tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()

    def put(n: int, intro: str) -> None:
        told = (
            f"Ben: {intro}\n\nAda Marrow: {own(n)}\n\nBen: And then?\n\nAda Marrow: {own(n + 50)}\n"
        )
        (talks / f"{n}.txt").write_text(told, "utf-8")

    for n in range(2):
        put(n, INTRO.format(n=n))
    put(2, "What was it like in the yard?")
    context = Context(
        Workspace(tmp_path / "ws"), load(None, {"persona.name": "Ada Marrow"}), Report(quiet=True)
    )
    store = context.workspace.store

    def build() -> dict[str, str]:
        before = {r["subject_id"]: r["fingerprint"] for r in marks()} if store.path.exists() else {}
        extract_sources(context, [str(talks)])
        split_documents(context)
        names = {r["id"]: r["title"] for r in store.rows("SELECT id, title FROM sources")}
        return {
            names[r["subject_id"]]: r["fingerprint"]
            for r in marks()
            if before.get(r["subject_id"]) != r["fingerprint"]
        }

    def marks() -> list[dict[str, str]]:
        return store.rows("SELECT subject_id, fingerprint FROM done WHERE step = 'split'")

    assert set(build()) == {"0", "1", "2"}
    assert store.value("SELECT count(*) FROM cuts") == 0
    assert build() == {}
    put(3, INTRO.format(n=3))
    assert set(build()) == {"0", "1", "3"}
    assert store.value("SELECT count(*) FROM cuts") == 3
    assert store.value("SELECT count(*) FROM verdicts WHERE rule = 'stock_text'") == 3
    assert build() == {}


def test_turns_without_names_are_told_with_what_can_be_done(tmp_path: Path) -> None:
    cues = [f"00:{n:02}.000 --> 00:{n:02}.900\n>> {own(n)}\n" for n in range(6)]
    (tmp_path / "talk.vtt").write_text("WEBVTT\n\n" + "\n".join(cues), "utf-8")
    heard: list[str] = []

    def build(speakers: dict[str, str]) -> int:
        report = Report(quiet=True)
        report.log = heard.append
        told: dict[str, object] = {"persona.name": "Ada Marrow", "sources.speakers": speakers}
        context = Context(Workspace(tmp_path / "ws"), load(None, told), report)
        extract_sources(context, [str(tmp_path / "talk.vtt")])
        split_documents(context)
        return int(context.workspace.store.value("SELECT count(*) FROM passages"))

    assert build({}) == 0
    (told,) = [line for line in heard if "no speaker is" in line]
    assert "'Ada Marrow': (unnamed) 100 %; name the speakers with --alias or --speaker" in told
    assert "--speaker '(unnamed)=Ada Marrow' counts all unnamed speech" in told
    assert "a transcript with names is needed" in told
    assert build({"(unnamed)": "Ada Marrow"}) > 0


def test_a_mapping_splits_again_what_it_names(tmp_path: Path) -> None:
    for n in range(2):
        told = (
            f"Ben: Who is it?\n\nGuest: {own(n)}\n\nBen: What came then?\n\nGuest: {own(n + 50)}\n"
        )
        (tmp_path / f"{n}.txt").write_text(told, "utf-8")
    place = Workspace(tmp_path / "ws")
    wanted: dict[str, object] = {"persona.name": "Ada Marrow"}

    def build(speakers: dict[str, str]) -> tuple[int, int]:
        context = Context(
            place, load(None, {**wanted, "sources.speakers": speakers}), Report(quiet=True)
        )
        extract_sources(context, [str(tmp_path / "*.txt")])
        split_documents(context)
        store = place.store
        return (
            store.value("SELECT count(*) FROM passages"),
            store.value("SELECT count(*) FROM verdicts WHERE rule = 'no_persona'"),
        )

    assert build({}) == (0, 8)
    assert build({"1.txt:Guest": "Ada Marrow"}) == (2, 4)
    assert build({"Guest": "Ada Marrow"}) == (4, 0)


STORY = "I sawed oak for the mill, and my father counted the planks twice every evening."
COPY = "Their planks never warp. They come to your door on Mondays. Every board is dry."


def turns(*said: tuple[str | None, str]) -> list[Block]:
    return [block(n, text, "turn", speaker=speaker) for n, (speaker, text) in enumerate(said)]


def left(blocks: list[Block]) -> list[str]:
    """Return the turns' texts after breaks and ads are cut, as a build does it."""
    breaks = find_breaks(blocks)
    cuts = [
        cut
        for b in blocks
        for cut in merge_cuts(b.id, [c for c in breaks if c.block_id == b.id] + find_ads(b), b.text)
    ]
    kept, _ = apply_cuts(blocks, cuts, NOW)
    return [b.text for b in kept]


@pytest.mark.parametrize(
    "ad",
    [
        "This portion of Yard Talk is brought to you by Planks Inc.",
        "Today's episode is sponsored by Planks Inc. The people at Planks saw for you.",
        "Support for this podcast comes from Planks Inc. Go to planks.com to try.",
        "This show is supported by Planks. Boards are heavy. Planks carries them for you.",
        "Transcripts for this episode are sponsored by Planks.",
        "The following message comes from Planks Inc. Visit planks dot com today.",
        "Gracias a nuestro patrocinador. Hay un veinte por ciento de descuento.",
        "Merci à notre partenaire de la semaine.",
        "感谢本期节目的赞助商。",
    ],
)
def test_an_ad_goes_and_what_follows_it_stays(ad: str) -> None:
    (told,) = left(turns(("Ben", f"{ad} {STORY}")))[:1] or [""]
    assert told.endswith(STORY)
    first = ad.partition(".")[0]
    assert first not in told


def test_the_sponsors_name_goes_on_with_the_ad() -> None:
    ad = "This episode is brought to you by Planks Inc. It rains. With Planks Inc you stay dry."
    assert left(turns(("Ben", f"{ad} {STORY} {STORY}"))) == [f"{STORY} {STORY}"]
    later = f"{ad} {' '.join([STORY] * 5)} Planks Inc was where I worked."
    assert left(turns(("Ben", later))) == [later.removeprefix(f"{ad} ")]


@pytest.mark.parametrize(
    ("opening", "cue", "closing"),
    [
        ("We'll be right back.", "Use the code OAK20 there.", "And we're back."),
        ("Let's take a quick break.", "Go to planks.com/yard for more.", "Okay, welcome back."),
        ("More after the break.", "It is 20% off this week.", "Now back to the show."),
        ("Nach einer kurzen Pause geht es weiter.", "Der Rabattcode steht da.", "Weiter geht's."),
        ("On revient tout de suite.", "Le code promo est CHENE.", "Nous revoilà."),
        ("Volvemos enseguida.", "El código de descuento es ROBLE.", "Ya estamos de regreso."),
        ("广告之后我们马上回来。", "请使用优惠码。", "欢迎回来。"),
    ],
)
def test_a_break_goes_whole_with_the_ad_in_it(opening: str, cue: str, closing: str) -> None:
    one = turns(("Ben", f"{STORY} {opening} {COPY} {cue} {COPY} {closing} Tell me more."))
    assert left(one) == [f"{STORY}\n\nTell me more."]
    # The ad may be in another voice, and in nobody's.
    several = turns(
        ("Ben", f"{STORY} {opening}"),
        ("Announcer", f"{COPY} {cue}"),
        (None, COPY),
        ("Ben", f"{closing} Tell me more."),
        ("Ada Marrow", STORY),
    )
    assert left(several) == [STORY, "Tell me more.", STORY]


@pytest.mark.parametrize(
    "said",
    [
        # No ad stands in it: the break was edited out, or it was a part of the talk.
        [("Ben", f"We'll be right back. {COPY} Welcome back.")],
        [("Ben", "We'll be right back."), ("Ada Marrow", STORY), ("Ben", "Welcome back, Ada.")],
        # Two voices: whoever says the second did not open a break.
        [("Ben", "We'll be right back."), ("Ada Marrow", f"Use planks.com/yard. {STORY}")],
        [("Ben", "We'll be right back. See a.com/b."), ("Ada Marrow", f"Welcome back. {STORY}")],
        # Talk about advertising.
        [("Ada Marrow", "Every week he said it was brought to you by the soap people. I laughed.")],
        [
            (
                "Ada Marrow",
                f"{STORY} Support for the workers came from the union, not from the mill.",
            )
        ],
        [("Ada Marrow", "This part of the town was sponsored by the brewery. We lived there.")],
        [
            (
                "Ada Marrow",
                "I wrote ads for planks.com for years, and nobody visited planks.com/yard.",
            )
        ],
        [("Ada Marrow", "We took a break and came back to the show after lunch. It was raining.")],
        [("Ada Marrow", f"We are back to the start. {STORY} 20% off was what my boss shouted.")],
        [("Ada Marrow", "我在广告公司工作了十年。休息的时候我们聊天。")],
    ],
)
def test_talk_of_ads_and_breaks_stays(said: list[tuple[str | None, str]]) -> None:
    blocks = turns(*said)
    assert left(blocks) == [b.text for b in blocks]


def test_a_break_that_never_ends_takes_nothing() -> None:
    long = " ".join(
        f"Sentence {n} of what was said there, and of what came of it." for n in range(60)
    )
    blocks = turns(
        ("Ben", f"We'll be right back. Go to planks.com/yard. {long} Welcome back. Yes.")
    )
    assert find_breaks(blocks) == []
    assert find_breaks([]) == []
