"""Compose divided pairs into a dataset version: ChatML conversations in three splits."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import get_args

from pydantic import Field

from memoirist.data.composition.splits import Division, SplitSettings
from memoirist.data.schema.records import (
    Conversation,
    Dataset,
    GroupSplit,
    Pair,
    Split,
    Verdict,
    content_id,
)
from memoirist.data.text.sanitizer import neutralise
from memoirist.data.text.tool_messages import map_texts, plain_text
from memoirist.data.text.words import count_words, is_cjk


class ComposeSettings(SplitSettings):
    """How pairs become conversations, and which are held out."""

    max_pairs: int = Field(
        5_000,
        ge=1,
        description="Most pairs of a dataset; of more, those with the best scores are taken.",
    )
    max_group_pairs: int = Field(
        500,
        ge=1,
        description="Most pairs of one group (chapter, episode) where pairs are selected.",
    )
    max_exchanges: int = Field(4, ge=1, description="Most exchanges in one conversation.")
    max_words: int = Field(
        700, ge=50, description="Most words in a conversation of several exchanges."
    )
    disclosure_share: float = Field(
        0.03,
        ge=0,
        le=0.2,
        description="Share of the train conversations that teach the persona to say that it is an"
        " AI when it is asked, which it forgets otherwise; 0 for none.",
    )


# A conversation before its dataset has an id: the split, the ids of its pairs, its messages, and
# the JSON of one with tools.
_Draft = tuple[Split, Sequence[str], list[dict[str, str]], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A dataset version, its conversations, and the verdicts on pairs that it leaves out."""

    dataset: Dataset
    conversations: Sequence[Conversation]
    verdicts: Sequence[Verdict] = ()
    splits: Sequence[GroupSplit] = ()


def compose(
    division: Division,
    system: str,
    settings: ComposeSettings,
    now: datetime,
    follow_ups: Mapping[str, FollowUp] | None = None,
) -> Composed:
    """Return the dataset of the divided pairs; its id is the hash of what it holds.

    `system` is the persona's prompt, for pairs without their own. Pairs with a follow-up continue
    the pair before them where that is in the same split.
    """
    drafts: list[_Draft] = []
    for split in get_args(Split):
        joined = join_follow_ups(division.pairs.get(split, ()), follow_ups or {}, settings)
        drafts += [_draft(split, thread, system) for thread in threads(joined, settings)]
    return replace(_version(drafts, now), verdicts=division.verdicts, splits=division.groups)


def with_train(
    composed: Composed,
    pairs: Sequence[Pair],
    settings: ComposeSettings,
    now: datetime,
    system: str = "",
) -> Composed:
    """Add pairs to the train split of a dataset.

    They keep their own system prompts; `system` is for pairs in the persona's voice that have none,
    and empty for pairs in other voices.
    """
    drafts: list[_Draft] = [
        (c.split, c.pair_ids, list(c.messages), c.tool_turns) for c in composed.conversations
    ]
    drafts += [_draft("train", thread, system) for thread in threads(pairs, settings)]
    return replace(_version(drafts, now), verdicts=composed.verdicts, splits=composed.splits)


def _draft(split: Split, thread: Sequence[Pair], system: str) -> _Draft:
    pair_ids = tuple(pair.id for pair in thread)
    if thread[0].tool_turns:
        return split, pair_ids, *_whole(thread[0].tool_turns, thread[0].system or system)
    return split, pair_ids, to_messages(thread, system), None


def _whole(tool_turns: str, system: str) -> tuple[list[dict[str, str]], str]:
    """Return the messages of a conversation with tools as text, and its JSON."""
    row = map_texts(json.loads(tool_turns), lambda _, text: neutralise(text))
    if system:
        row["messages"].insert(0, {"role": "system", "content": neutralise(system)})
    texts = [{"role": each["role"], "content": plain_text(each)} for each in row["messages"]]
    return texts, json.dumps(row, ensure_ascii=False)


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
        json.dumps([split, list(ids), messages, *filter(None, [whole])], ensure_ascii=False)
        for split, ids, messages, whole in drafts
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
            tool_turns=whole,
        )
        for split, pair_ids, messages, whole in drafts
    ]
    counts = Counter(conversation.split for conversation in conversations)
    dataset = Dataset(
        id=dataset_id,
        created_at=now,
        used_at=now,
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
