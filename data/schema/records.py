"""The records of all tables: one frozen dataclass for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, Protocol

SampleKind = Literal["held_out", "trained", "general", "own"]

# A run whose adapter is not there yet: at work (or killed), stopped by Ctrl-C, ended by an error.
# All three go on where they were when they are started again.
UNFINISHED = ("training", "interrupted", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training; `recipe` holds the resolved settings as JSON.

    `status` is one of UNFINISHED, then `trained`, `merged` and `evaluated`.
    """

    id: str
    dataset_id: str
    base_model: str
    recipe: str
    seed: int
    status: str
    started_at: datetime
    ended_at: datetime | None = None
    metrics: str | None = None

    @property
    def finished(self) -> bool:
        """Tell whether the run has an adapter."""
        return self.status not in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The adapter and the merged weights of one run; paths are relative to the workspace.

    The rest compares the merged model with base + adapter: of `prompts` greedy answers `equal` are
    the same and `ties` part at a draw, `stops` ended by themselves; losses and `kl` are nats a
    token. `step` names the checkpoint that was merged, None the adapter that training kept;
    `picked_at` is when a person made it the model in use.
    """

    run_id: str
    adapter_path: str
    merged_path: str | None
    dtype: str
    champion: bool
    way: str | None = None
    alike: bool | None = None
    prompts: int | None = None
    equal: int | None = None
    ties: int | None = None
    stops: int | None = None
    kl: float | None = None
    loss_base: float | None = None
    loss_adapter: float | None = None
    loss_merged: float | None = None
    step: int | None = None
    picked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a model in training answered to one prompt after `step` optimizer steps, greedily.

    `kind` tells where the prompt comes from: a held-out conversation, one that is trained on (where
    none is held out), the general ones, or the user's own. Step 0 is the base.
    """

    run_id: str
    step: int
    prompt: str
    kind: SampleKind
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of one run at one optimizer step."""

    run_id: str
    step: int
    name: str
    value: float


SourceKind = Literal["book", "podcast", "chat", "dataset", "text"]
BlockKind = Literal[
    "heading",
    "paragraph",
    "turn",
    "system",
    "footnote",
    "quote",
    "caption",
    "contents",
    "boilerplate",
    "running_head",
    "folio",
]
Origin = Literal["spoken", "given", "generated", "template", "curated", "disclosure"]
Split = Literal["train", "validation", "test"]


def content_id(*parts: object) -> str:
    """Return a 16-digit hexadecimal id of `parts`, the same on every machine and every run.

    The parent's id comes first, then the content; the unit separator keeps ("ab", "c") and
    ("a", "bc") apart. 64 bits: a collision among ten million rows has odds of 1 to 370,000.
    """
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A thing the user pointed at: one file or one hub dataset, with its place in the ledger.

    `rights` are in a form of `data/provenance/rights.py`, `rights_basis` tells who said so.
    `mix_share` is set on a dataset that is not the persona's: its share of what is trained on.
    """

    id: str
    kind: SourceKind
    format: str
    location: str
    sha256: str
    added_at: datetime
    title: str | None = None
    author: str | None = None
    rights: str | None = None
    rights_basis: str | None = None
    living: bool | None = None
    consent: str | None = None
    withdrawn_at: datetime | None = None
    mix_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One readable unit of a source: a book, an episode, one conversation of a dataset."""

    id: str
    source_id: str
    title: str
    lang: str | None = None
    published: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One structural unit of a document in reading order; pages count from 1.

    `page_label` is the number printed on the first page, such as xii or 213.
    """

    id: str
    document_id: str
    ord: int
    kind: BlockKind
    text: str
    page: int | None = None
    page_last: int | None = None
    page_label: str | None = None
    chapter: str | None = None
    speaker: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stretch of a turn that is cut before the split: characters from 0, the last one excluded.

    `n_documents` tells in how many episodes a stock text stands.
    """

    block_id: str
    first_char: int
    last_char: int
    rule: str
    n_documents: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A run of whole blocks in one voice that can stand as an answer.

    `group_id` is the chapter, episode or conversation: the unit of the split. `thread_id` joins
    the exchanges of one dialogue and is None for prose. `context` is the paragraph before.
    """

    id: str
    source_id: str
    document_id: str
    ord: int
    group_id: str
    text: str
    n_words: int
    block_ids: Sequence[str] = field(default_factory=tuple)
    page_first: int | None = None
    page_last: int | None = None
    page_label: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    speaker: str | None = None
    chapter: str | None = None
    context: str | None = None
    thread_id: str | None = None
    system: str | None = None
    source_row: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an interviewer would ask to get the passage.

    `nth` is 1 for the best of several that came back, 2 for the second one.
    """

    id: str
    passage_id: str
    text: str
    type: str
    origin: Origin
    model: str | None = None
    prompt_version: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    request_id: str | None = None
    nth: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One question that came back; `rule` and `reason` refuse it, None lets it be chosen.

    `key` is that of the request, `length_class` 1 to 3, `opener` its first two words.
    """

    id: str
    key: str
    ord: int
    text: str
    type: str
    length_class: int
    opener: str
    score: float
    rule: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One exchange; the pairs of one thread in order make a conversation of several turns.

    `verbatim` is the passage word for word where `answer` is a polished one, `tool_turns` the JSON
    of a conversation with tools that is kept whole.
    """

    id: str
    source_id: str
    passage_id: str
    question_id: str
    group_id: str
    thread_id: str
    ord: int
    question: str
    answer: str
    origin: Origin
    system: str | None = None
    score: float | None = None
    verbatim: str | None = None
    tool_turns: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One decision about one thing: `subject_id` is a row of the table or view `subject`.

    `step` and `source_id` are filled in when the verdict is stored.
    """

    subject_id: str
    subject: str
    rule: str
    keep: bool
    reason: str
    created_at: datetime
    score: float | None = None
    beaten_by: str | None = None
    next_step: str | None = None
    step: str | None = None
    source_id: str | None = None


class Fault(NamedTuple):
    """Why something is dropped or flagged: the parts of a verdict that a rule knows."""

    rule: str
    reason: str
    next_step: str
    score: float | None = None
    beaten_by: str | None = None

    def verdict(
        self, subject: str, subject_id: str, now: datetime, *, keep: bool = False
    ) -> Verdict:
        """Return the verdict on a row of the table `subject`."""
        return Verdict(
            **self._asdict(), subject_id=subject_id, subject=subject, keep=keep, created_at=now
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """ChatML messages ready to train on, with their split and dataset version.

    `tool_turns` holds a conversation with tools as it is trained, as the JSON of its messages and
    tools; `messages` are the text of it.
    """

    id: str
    dataset_id: str
    split: Split
    pair_ids: Sequence[str]
    messages: Sequence[dict[str, str]]
    n_tokens: int
    tool_turns: str | None = None

    @property
    def training_row(self) -> dict[str, Any]:
        """Return what is trained: `messages`, and `tools` where the conversation has them."""
        whole: dict[str, Any] = json.loads(self.tool_turns or "{}")
        return {"messages": [dict(message) for message in self.messages], **whole}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One version of the conversations, named by their content.

    `recipe` holds the settings that it was composed under as JSON. A version that is composed again
    keeps its first time, recipe and parent; `used_at` is the last time.
    """

    id: str
    created_at: datetime
    used_at: datetime
    n_train: int
    n_validation: int
    n_test: int
    parent_id: str | None = None
    recipe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to an LLM, answered or not; `purpose` is the step that made it.

    `key` stands for all that decides the reply: under it nothing answered is asked again. `rule`,
    `cause`, `error` and `next_step` say why the reply gives no question; `limits` are the settings
    under which it failed, `judged` those by which its questions were judged.
    """

    id: str
    purpose: str
    model: str
    status: str
    attempts: int
    subject_id: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    error: str | None = None
    reply: str | None = None
    key: str | None = None
    passage_hash: str | None = None
    prompt_version: str | None = None
    source_id: str | None = None
    run_id: str | None = None
    limits: str | None = None
    is_answer: bool | None = None
    confidence: float | None = None
    rule: str | None = None
    cause: str | None = None
    next_step: str | None = None
    estimated: bool | None = None
    judged: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A file of requests that a provider answers within a day.

    `key` is the hash of `custom_ids`, which are the hashes of the requests; `id` is the provider's,
    None as long as nobody knows whether the file has arrived.
    """

    key: str
    base_url: str
    status: str
    custom_ids: Sequence[str]
    created_at: datetime
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One figure of one side of an evaluation, with its 95 % interval.

    `model` is the side: base, few_shot, previous, tuned, or human for the held-out text.
    """

    run_id: str
    model: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """What one side of an evaluation answered; `finished` is None for human text."""

    run_id: str
    model: str
    kind: str
    question: str
    answer: str
    finished: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Which of two answers a judge took for the person's: 1, 2 or 0 for neither."""

    id: str
    run_id: str
    judge: str
    first: str
    second: str
    question: str
    better: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSplit:
    """The split that a group was given once, which every later dataset keeps.

    A group is `cut` where stretches at its end are held out.
    """

    group_id: str
    source_id: str
    split: Split | Literal["cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A mark that `step` has finished on `subject_id` under the settings of `fingerprint`.

    It is written in the transaction of the step's rows, so a killed build resumes exactly where
    it stopped and a changed setting repeats only what depends on it.
    """

    subject_id: str
    step: str
    fingerprint: str


class RowReader(Protocol):
    """A dataset's rows, still to be read: plain ones in bulk by the store, others one by one."""

    @property
    def parts(self) -> Mapping[str, str]:
        """Return the column of each part of a plain row: `question`, `answer`, `system`, ...

        Empty where every row must be read by itself.
        """

    def batches(self) -> Iterator[Any]:
        """Yield Arrow batches of rows as the store takes them, or else of exchanges."""

    def reread(self, rows: Sequence[tuple[int, str]]) -> Any:  # noqa: ANN401 - an Arrow batch
        """Return the exchanges of some rows, each given by its number and as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a step gives back: new rows of any table, verdicts and marks among them.

    A dataset's exchanges are still to be read, and `told` says in a few words how its rows were
    understood. `title` stands in the place of the source's own.
    """

    documents: Sequence[Document] = ()
    blocks: Sequence[Block] = ()
    passages: Sequence[Passage] = ()
    questions: Sequence[Question] = ()
    verdicts: Sequence[Verdict] = ()
    requests: Sequence[Request] = ()
    exchanges: RowReader | None = None
    told: str = ""
    title: str | None = None
