"""Spoken pairs against 200 labels: what the rules keep, join and drop.

The labels are hashes of pairs that stood before the rules, which the settings that turn them off
still make. Such a pair is kept where its question has a passage with its answer's first words;
joined where the answer stands inside another one, or after an aside; asked again where its answer
has no question or another one; else dropped. `drop` is right wherever the pair is gone.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Passage, Rows
from memoirist.data.text import personal_data
from memoirist.data.transcripts import question_answer, removed_spans, speakers
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.detection.sniff import format_of
from tests.conftest import CORPORA
from tests.support.normal_form import normalise

LABELS = Path(__file__).parent.parent / "data" / "transcripts" / "spoken_pairs.tsv"
OFF = PassageSettings(
    min_reply_words=0,
    min_untied_words=0,
    min_comment_words=0,
    max_interruption_words=0,
    min_question_words=0,
    max_aside_words=1_000_000,
    cut_courtesies=False,
)
# Where a labelled episode stands under the corpora's podcasts, and what its persona is called.
EPISODES = {
    "the-changelog-103.md": ("changelog-md", ["Sid Sijbrandij"]),
    "the-changelog-672.md": ("changelog-md", ["Sid Sijbrandij"]),
    "founders-talk-60.md": ("changelog-md", ["Travis Kimmel"]),
    "brain-science-1.md": ("changelog-md", ["Mireille B. Reece", "Mireille B. Reece, Psy.D"]),
    "request-for-commits-1.md": ("changelog-md", ["Karl Fogel"]),
    "js-party-100.md": ("changelog-md", ["Emma Wedekind"]),
    "practical-ai-100.md": ("changelog-md", ["Chris Benson"]),
    "2020-01-28-pieter-wuille-part1.md": ("bitcoin-md", ["Pieter Wuille", "Pieter"]),
    "2020-02-16-waxwing-or-adam-gibson.md": (
        "bitcoin-md",
        ["Adam Gibson", "Waxwing (Adam Gibson)"],
    ),
    "silent-payments.md": ("bitcoin-md", ["Ruben Somsen", "Ruben"]),
    "transcripts_553-all-our-tools.vtt": ("talkpython", ["Calvin Hendryx-Parker"]),
    "fg45.json": ("podlove-json", ["Lyndal Roper", "lyndalroper"]),
    "acde_2026-08-13_243/transcript_corrected.vtt": ("ethereum-vtt", ["Danno Ferrin"]),
    "focil_2026-06-16_036/transcript_corrected.vtt": ("ethereum-vtt", ["Nico Flaig"]),
}
# The rules were suggested by the tuning episodes and measured on the others.
TUNING = frozenset(list(EPISODES)[::2])
FATES = ("keep", "join", "drop")
_HEAD_WORDS = 8


# What an episode gives, and its blocks in order.
Talk = tuple[Rows, list[Block]]


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled pair, with what the old rules made of it."""

    episode: str
    label: str
    sample: str
    question_hash: str
    passage: Passage


def main() -> None:
    """Print the table of labels and fates for each sample and half, before and after."""
    if not CORPORA.is_dir():
        sys.stdout.write("spoken pairs: the corpora are not here; set MEMOIRIST_CORPORA\n")
        return
    before = {episode: split(episode, OFF) for episode in EPISODES}
    after = {episode: split(episode, PassageSettings()) for episode in EPISODES}
    labels = read_labels(before)
    for name, talks in (("before", before), ("after", after)):
        asked = sum(len(rows.questions) for rows, _ in talks.values())
        heard = sum(passage.n_words for rows, _ in talks.values() for passage in rows.passages)
        sys.stdout.write(f"spoken pairs {name}: {asked}, {heard:,} words of answers\n")
    samples = {
        "random": [label for label in labels if label.sample == "random"],
        "all": labels,
        "tuning half": [label for label in labels if label.episode in TUNING],
        "held-out half": [label for label in labels if label.episode not in TUNING],
    }
    for name, sample in samples.items():
        fates = Counter((label.label, fate(label, after[label.episode])) for label in sample)
        good = sum(label.label == "keep" for label in sample)
        sys.stdout.write(
            f"{name}, {len(sample)} pairs; before, all are kept: precision"
            f" {_share(good, len(sample))}\n{table(fates)}\n"
        )


def split(episode: str, settings: PassageSettings) -> Talk:
    """Return what an episode gives, ads cut out as the step `split` does, and its blocks."""
    folder, names = EPISODES[episode]
    path = CORPORA / "podcasts" / folder / episode
    known = format_of(path)
    assert known is not None, path
    now = datetime.now(UTC)
    source = read_source(SourceRef(path=path, format=known.name), now)
    rows = extract(source, ExtractSettings())
    blocks = speakers.renamed(rows.blocks, {}, names)
    speaker = speakers.find_persona(blocks, names)
    assert speaker is not None, path
    turns = [block for block in blocks if block.kind == "turn"]
    breaks = removed_spans.find_breaks(turns)
    cuts = [
        cut
        for block in turns
        for cut in removed_spans.merge_cuts(
            block.id,
            [c for c in breaks if c.block_id == block.id] + removed_spans.find_ads(block),
            block.text,
        )
    ]
    kept, _ = removed_spans.apply_cuts(blocks, cuts, now)
    found = question_answer.split_turns(rows.documents[0], kept, speaker, settings, now)
    return personal_data.mask_rows(found, rows.documents[0].lang or "und", now), kept


def word_hash(text: str) -> str:
    """Return the hash of a text's words that the labels are kept under."""
    joined = " ".join(re.findall(r"\w+", text.lower()))
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()


def read_labels(before: dict[str, Talk]) -> list[Label]:
    """Return the labels with the answers that the old rules cut; one without it is an error."""
    answers = {
        (episode, word_hash(passage.text)): passage
        for episode, (rows, _) in before.items()
        for passage in rows.passages
    }
    with LABELS.open(encoding="utf-8", newline="") as lines:
        return [
            Label(
                row["episode"],
                row["label"],
                row["sample"],
                row["question_hash"],
                answers[row["episode"], row["answer_hash"]],
            )
            for row in csv.DictReader(lines, delimiter="\t")
        ]


def fate(label: Label, talk: Talk) -> str:
    """Return what the rules make of a labelled pair."""
    rows, turns = talk
    blocks = set(label.passage.block_ids)
    head = _plain(" ".join(label.passage.text.split()[:_HEAD_WORDS]))
    holder = next(
        (p for p in rows.passages if blocks & set(p.block_ids) and head in _plain(p.text)), None
    )
    if holder is None:
        return "drop"
    asked = next((q.text for q in rows.questions if q.passage_id == holder.id), None)
    if asked is not None and label.question_hash in _run_hashes(asked):
        return "keep"
    asides = {v.subject_id for v in rows.verdicts if v.rule == "aside"}
    before = next((a.id for a, b in pairwise(turns) if b.id == holder.block_ids[0]), None)
    if not _plain(holder.text).startswith(head) or (asked is None and before in asides):
        return "join"
    return "ask again" if asked is None else "other question"


def _run_hashes(text: str) -> set[str]:
    """Return the hash of each run of turns of a question, which may have more of them now."""
    parts = text.split("\n\n")
    ends = range(1, len(parts) + 1)
    return {word_hash(" ".join(parts[a:b])) for b in ends for a in range(b)}


def _plain(text: str) -> str:
    return f" {normalise(text)} ".rstrip()


def table(fates: Counter[tuple[str, str]]) -> str:
    """Return the confusion table with precision and recall of each label."""
    names = [*FATES, "ask again", "other question"]
    lines = ["  label " + "".join(f"{name:>16}" for name in names)]
    for label in FATES:
        lines.append(f"  {label:<6}" + "".join(f"{fates[label, name]:>16}" for name in names))
    for label in FATES:
        right = {label} if label != "drop" else {"drop", "ask again", "other question"}
        hits = sum(fates[label, name] for name in right)
        chosen = sum(fates[other, name] for other in FATES for name in right)
        labelled = sum(fates[label, name] for name in names)
        lines.append(
            f"  {label}: precision {_share(hits, chosen)}, recall {_share(hits, labelled)}"
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "-"


if __name__ == "__main__":
    main()
