"""Ads and breaks: what is cut, and what only speaks of advertising and stays."""

from __future__ import annotations

import pytest

from memoirist.data.schema.records import Block
from memoirist.data.transcripts.ads import find_ads, find_breaks
from memoirist.data.transcripts.removed_spans import apply_cuts, merge_cuts
from tests.support.rows import NOW, block

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
