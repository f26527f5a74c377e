"""Compose pairs into a dataset version: ChatML conversations in train, validation and test.

Whole groups are held out, and train is purged of what is too close to a test pair.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.schema.records import (
    Conversation,
    Dataset,
    Fault,
    GroupSplit,
    Pair,
    Split,
    Verdict,
    content_id,
)
from memoirist.data.text.sanitizer import neutralise
from memoirist.data.text.words import count_words, is_cjk, normalise, words


class ComposeSettings(BaseModel):
    """How pairs become conversations, and which are held out."""

    model_config = ConfigDict(extra="forbid")

    test_share: float = Field(0.10, ge=0, lt=0.5, description="Share of pairs held out as test.")
    validation_share: float = Field(
        0.05, ge=0, lt=0.5, description="Share of pairs that decide when training stops."
    )
    hold_out_source: bool = Field(
        default=True, description="With three sources or more, hold one small one out whole."
    )
    max_source_share: float = Field(
        0.15, gt=0, lt=1, description="Only a source of at most this share is held out whole."
    )
    max_containment: float = Field(
        0.5, gt=0, le=1, description="Train pairs that share more with a test answer are dropped."
    )
    max_shared_run: int = Field(13, ge=5, description="So many shared words in a row drop as well.")
    max_question_overlap: float = Field(
        0.7,
        gt=0,
        description="Train questions as close to a test question (Jaccard of character 5-grams)"
        " drop too; above 1: none.",
    )
    max_pairs: int = Field(
        5_000, ge=1, description="Above so many kept pairs the best by score are taken."
    )
    max_group_pairs: int = Field(
        500, ge=1, description="Where pairs are selected: at most so many of one group."
    )
    max_exchanges: int = Field(4, ge=1, description="Exchanges of one thread in a conversation.")
    max_words: int = Field(700, ge=50, description="Words in a conversation of several exchanges.")
    disclosure_share: float = Field(
        0.03,
        ge=0,
        le=0.2,
        description="Share of the train conversations that teach the persona to say that it is an"
        " AI when it is asked, which tuning forgets otherwise; 0 for none.",
    )
    seed: int = Field(42, description="Seed of every choice made here.")


# A conversation before its dataset has an id: the split, the ids of its pairs, its messages.
_Draft = tuple[Split, Sequence[str], list[dict[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A dataset version, its conversations, and the pairs that the purge dropped."""

    dataset: Dataset
    conversations: Sequence[Conversation]
    verdicts: Sequence[Verdict] = ()
    splits: Sequence[GroupSplit] = ()


def compose(  # noqa: PLR0913 - the inputs of a dataset
    pairs: Sequence[Pair],
    system: str,
    settings: ComposeSettings,
    before: Mapping[str, Split],
    now: datetime,
    follow_ups: Mapping[str, FollowUp] | None = None,
) -> Composed:
    """Return the dataset of the kept pairs; its id is the hash of what it holds.

    `system` is the persona's prompt, for pairs without their own; `before` has the split of every
    group in an earlier dataset. Pairs with a follow-up continue the pair before them where that is
    in the same split.
    """
    splits = partition(pairs, settings, before)
    held = hold_out_source(pairs, settings, before) if settings.hold_out_source else None
    by_split: dict[Split, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.source_id == held:
            splits[pair.group_id] = "test"
        by_split[splits[pair.group_id]].append(pair)
    by_split["train"], verdicts = purge(by_split["train"], by_split["test"], settings, now)
    drafts: list[_Draft] = []
    for split in get_args(Split):
        joined = join_follow_ups(by_split[split], follow_ups or {}, settings)
        drafts += [_draft(split, thread, system) for thread in threads(joined, settings)]
    sources = {pair.group_id: pair.source_id for pair in pairs}
    groups = [
        GroupSplit(group_id=group, source_id=source, split=splits[group])
        for group, source in sources.items()
    ]
    return replace(_version(drafts, now), verdicts=verdicts, splits=groups)


def with_mixed(  # noqa: PLR0913 - the inputs of a dataset
    composed: Composed,
    mixed: Sequence[Pair],
    own: Sequence[Pair],
    settings: ComposeSettings,
    now: datetime,
    system: str = "",
) -> Composed:
    """Add pairs to the train split of a dataset; they are never held out.

    They keep their own system prompts; `system` is for pairs in the persona's voice that have none,
    and empty for pairs in other voices. Pairs too close to a held-out pair of `own` are dropped.
    """
    held = {i for c in composed.conversations if c.split == "test" for i in c.pair_ids}
    rest, verdicts = purge(mixed, [pair for pair in own if pair.id in held], settings, now)
    drafts: list[_Draft] = [(c.split, c.pair_ids, list(c.messages)) for c in composed.conversations]
    drafts += [_draft("train", thread, system) for thread in threads(rest, settings)]
    dropped = [*composed.verdicts, *verdicts]
    return replace(_version(drafts, now), verdicts=dropped, splits=composed.splits)


def _draft(split: Split, thread: Sequence[Pair], system: str) -> _Draft:
    return split, tuple(pair.id for pair in thread), to_messages(thread, system)


def threads(pairs: Sequence[Pair], settings: ComposeSettings) -> list[list[Pair]]:
    """Join the pairs of each thread in order, and cut where a conversation becomes too long.

    A row of a dataset stays whole, because its author wrote it as one conversation.
    """
    result: list[list[Pair]] = []
    ordered = sorted(pairs, key=lambda pair: (pair.thread_id, pair.ord))
    for _, members in groupby(ordered, key=lambda pair: pair.thread_id):
        current: list[Pair] = []
        for pair in members:
            length = sum(count_words(p.question + " " + p.answer) for p in [*current, pair])
            full = len(current) >= settings.max_exchanges or length > settings.max_words
            if current and full and pair.origin != "given":
                result.append(current)
                current = []
            current.append(pair)
        result.append(current)
    return result


def to_messages(thread: Sequence[Pair], system: str) -> list[dict[str, str]]:
    """Return a thread as messages; control tokens are neutralised, the rest is verbatim."""
    if not thread[0].question:
        # A raw text has no question and no system prompt.
        return [{"role": "assistant", "content": neutralise(pair.answer)} for pair in thread]
    messages: list[dict[str, str]] = []
    prompt = thread[0].system or system
    if prompt:
        messages.append({"role": "system", "content": neutralise(prompt)})
    for pair in thread:
        messages.append({"role": "user", "content": neutralise(pair.question)})
        messages.append({"role": "assistant", "content": neutralise(pair.answer)})
    return messages


def estimate_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Estimate tokens: 1.35 for a word, 1.1 for a Chinese character, 4 for a message's frame.

    The trainer counts exactly with the base's tokenizer; this serves plans and `look`.
    """
    return sum(
        4 + round(count_words(m["content"]) * (1.1 if is_cjk(m["content"]) else 1.35))
        for m in messages
    )


def _version(drafts: Sequence[_Draft], now: datetime) -> Composed:
    contents = sorted(
        json.dumps([split, list(pair_ids), messages], ensure_ascii=False)
        for split, pair_ids, messages in drafts
    )
    dataset_id = content_id("dataset", *contents)
    conversations = [
        Conversation(
            id=content_id(dataset_id, *pair_ids),
            dataset_id=dataset_id,
            split=split,
            pair_ids=tuple(pair_ids),
            messages=messages,
            n_tokens=estimate_tokens(messages),
        )
        for split, pair_ids, messages in drafts
    ]
    counts = Counter(conversation.split for conversation in conversations)
    dataset = Dataset(
        id=dataset_id,
        created_at=now,
        n_train=counts["train"],
        n_validation=counts["validation"],
        n_test=counts["test"],
    )
    return Composed(dataset=dataset, conversations=conversations)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """The question of a pair where it continues the pair `before_id`."""

    pair_id: str
    before_id: str
    question: str


def neighbours(
    pairs: Iterable[Pair],
    positions: Mapping[str, int],
    share: float,
    seed: int,
    settings: ComposeSettings,
) -> list[tuple[Pair, Pair]]:
    """Return, in order, two pairs for each follow-up: a pair and the one that continues it.

    They are prose of one chapter with no passage in between; `positions` has the position of each
    passage in its document. A seeded draw by the later passage selects the share, so that changes
    elsewhere change nothing. The second of two may be the first of the next two, within the
    limits of a conversation.
    """
    prose = [pair for pair in pairs if pair.thread_id == pair.passage_id]
    ordered = sorted(prose, key=lambda p: (p.source_id, p.group_id, positions[p.passage_id]))
    result: list[tuple[Pair, Pair]] = []
    turns, length = 1, _length(ordered[0]) if ordered else 0
    for first, later in zip(ordered, ordered[1:], strict=False):  # noqa: RUF007 - both are named
        adjacent = (
            first.group_id == later.group_id
            and first.source_id == later.source_id
            and positions[later.passage_id] == positions[first.passage_id] + 1
        )
        drawn = random.Random(f"follow {seed} {later.passage_id}").random() < share
        turns, length = turns + 1, length + _length(later)
        if adjacent and drawn and turns <= settings.max_exchanges and length <= settings.max_words:
            result.append((first, later))
        else:
            turns, length = 1, _length(later)
    return result


def _length(pair: Pair) -> int:
    return count_words(pair.question) + count_words(pair.answer)


def join_follow_ups(
    pairs: Sequence[Pair], follow_ups: Mapping[str, FollowUp], settings: ComposeSettings
) -> list[Pair]:
    """Return the pairs, those with a follow-up in the thread of the pair before them.

    A pair keeps its own question and thread where the pair before it is missing, or the
    conversation would exceed the limits.
    """
    by_id = {pair.id: pair for pair in pairs}

    @cache
    def join(pair_id: str) -> tuple[Pair, int]:
        """Return a pair in its thread, and the words of the thread up to it."""
        pair, follow_up = by_id[pair_id], follow_ups.get(pair_id)
        if follow_up is None or follow_up.before_id not in by_id:
            return pair, _length(pair)
        first, length = join(follow_up.before_id)
        later = replace(
            pair, question=follow_up.question, thread_id=first.thread_id, ord=first.ord + 1
        )
        length += _length(later)
        if later.ord >= settings.max_exchanges or length > settings.max_words:
            return pair, _length(pair)
        return later, length

    return [join(pair.id)[0] for pair in pairs]


def partition(
    pairs: Sequence[Pair], settings: ComposeSettings, before: Mapping[str, Split]
) -> dict[str, Split]:
    """Return the split of every group, the earlier one where there is one.

    Within each source, groups in the order of a seeded hash go to test until its share of the
    source's pairs is reached, then to validation, the rest to train; so a new source moves no
    group of another. A group of more than a quarter of its source stays in train, because too
    little would remain to train on.
    """
    sizes = Counter(pair.group_id for pair in pairs)
    # A dictionary as an ordered set: a dataset has as many groups as rows.
    by_source: dict[str, dict[str, None]] = defaultdict(dict)
    for pair in pairs:
        by_source[pair.source_id][pair.group_id] = None
    chosen: dict[str, Split] = {g: before[g] for g in sizes if g in before}
    for groups in by_source.values():
        _assign(groups, sizes, settings, chosen)
    return chosen


def _assign(
    groups: Collection[str],
    sizes: Mapping[str, int],
    settings: ComposeSettings,
    chosen: dict[str, Split],
) -> None:
    total = sum(sizes[group] for group in groups)
    held = Counter[Split]()
    for group in groups:
        if group in chosen:
            held[chosen[group]] += sizes[group]
    targets: dict[Split, float] = {
        "test": settings.test_share * total,
        "validation": settings.validation_share * total,
    }
    new = [group for group in groups if group not in chosen]
    for group in sorted(new, key=lambda g: _order(settings.seed, g)):
        # A source of one or two groups is only trained on.
        may_be_held = len(groups) > 2 and sizes[group] <= max(1, total / 4)
        open_splits = [split for split, target in targets.items() if held[split] < target]
        chosen[group] = open_splits[0] if may_be_held and open_splits else "train"
        held[chosen[group]] += sizes[group]


def _order(seed: int, group: str) -> str:
    return hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).hexdigest()


def hold_out_source(
    pairs: Sequence[Pair], settings: ComposeSettings, before: Mapping[str, Split]
) -> str | None:
    """Return the source to hold out whole, or None with fewer than three or none small enough.

    A source of an earlier train split is never held out; one that was held out whole stays so.
    """
    sizes = Counter(pair.source_id for pair in pairs)
    tested = {p.source_id for p in pairs if before.get(p.group_id) == "test"}
    trained = {p.source_id for p in pairs if before.get(p.group_id, "test") != "test"}
    for source in sizes:
        if source in tested - trained:
            return source
    small = [
        s for s in sizes if sizes[s] <= settings.max_source_share * len(pairs) and s not in trained
    ]
    if len(sizes) < 3 or not small:
        return None
    return min(small, key=lambda source: _order(settings.seed, source))


def purge(
    train: Sequence[Pair], test: Sequence[Pair], settings: ComposeSettings, now: datetime
) -> tuple[list[Pair], list[Verdict]]:
    """Return the train pairs that share little with any test pair, and drops of the others.

    Containment is the share of the answer's word 5-grams that one test answer has. One shared run
    of `max_shared_run` words also drops (13 is GPT-3's length for contamination), and so does a
    question whose character 5-grams overlap (Jaccard) by `max_question_overlap`; above 1 none does.
    """
    run, max_question_overlap = settings.max_shared_run, settings.max_question_overlap
    fives: dict[int, dict[str, None]] = defaultdict(dict)  # ordered, so that ties are too
    runs: dict[int, str] = {}
    for pair in test:
        tokens = words(pair.answer)
        for gram in grams(tokens, 5):
            fives[gram][pair.id] = None
        for gram in grams(tokens, run):
            runs.setdefault(gram, pair.id)
    compared = test if max_question_overlap <= 1 else ()
    questions = [(pair.id, _shingles(pair.question)) for pair in compared]
    kept: list[Pair] = []
    verdicts: list[Verdict] = []
    for pair in train:
        tokens = words(pair.answer)
        match = next((runs[gram] for gram in grams(tokens, run) if gram in runs), None)
        match = match or _same_question(pair.question, questions, max_question_overlap)
        own = list(grams(tokens, 5))
        counts = Counter(other for gram in own for other in fives.get(gram, ()))
        closest, n_shared = counts.most_common(1)[0] if counts else (None, 0)
        share = n_shared / len(own) if own else 0.0
        if match is not None or share >= settings.max_containment:
            reason = "it is too close to a held-out exchange, which would flatter the test"
            step = "nothing: the held-out answer is kept"
            fault = Fault("test_overlap", reason, step, round(share, 3), match or closest)
            verdicts.append(fault.verdict("pairs", pair.id, now))
        else:
            kept.append(pair)
    return kept, verdicts


def _shingles(question: str, n: int = 5) -> frozenset[str]:
    """Return the character 5-grams of a question of five words or more, else nothing.

    Short questions ("Why was that?") are common to all episodes and leak nothing.
    """
    text = normalise(question)
    if count_words(question) < 5:
        return frozenset()
    return frozenset(text[i : i + n] for i in range(len(text) - n + 1))


def _same_question(
    question: str, questions: Sequence[tuple[str, frozenset[str]]], min_overlap: float
) -> str | None:
    """Return the held-out pair whose question is nearly this one."""
    own = _shingles(question) if questions else frozenset()
    for pair_id, other in questions if own else ():
        shared = len(own & other)
        if shared and shared >= min_overlap * (len(own) + len(other) - shared):
            return pair_id
    return None


def grams(tokens: Sequence[str], n: int) -> Iterable[int]:
    """Return the hashes of all runs of `n` words; they are valid within one process only."""
    return (hash(tuple(tokens[i : i + n])) for i in range(len(tokens) - n + 1))
