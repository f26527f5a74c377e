"""Find near duplicates of passages, answers and questions, and keep the best of each cluster.

The work is done in SQL (data/store/queries/duplicates_*.sql). Fingerprints propose what to compare,
and exact similarity decides: Jaccard of the 5-grams, or the share of the shorter text's 5-grams
that the longer one has. Fingerprints and similarities are stored, so that a new text is compared
with all others and nothing is compared again.

Nine 5-grams in a row that two texts share give both the same fingerprint. Texts at Jaccard .7 have
such a run in common, and so have a text of 26 5-grams or more and one that holds .8 of it, because
a change of one word costs four 5-grams at least. A fingerprint of more than `_CROWD` texts is taken
together with its neighbour.

Measured: all of 950 labelled pairs of paragraphs of two editions are found and none of 950 others;
four editions of one book keep no passage that is near another. A rule that drops every pair with a
near question would cost none of the bundled samples' 156 pairs and none of a book's 320 with
template questions, but 629 of 1,363 rows of a dataset that answers each question several times on
purpose; 262 of these are near duplicates with their answers. So a question alone decides about
written questions only, and never where the numbers differ.

Where the model of sentences is in force, long answers are compared by their vectors as well. At the
default 7 of 16 passages are found again in a retelling, and 1 of 147,270 pairs of different
paragraphs of one book is taken for the same (tests/benchmarks/same_meaning.py). The meaning of a
question decides nothing: "What did you say to the king?" and "What did the king say to you?" have a
cosine of .97, two wordings of one question .7 to .95.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.store.transaction import Transaction

# A fingerprint that more texts share is used together with its neighbour, and where both are shared
# by more, each text is compared with the first few of them.
_CROWD = 20
_FEW = 4
# The share of the smaller text's fingerprints that a proposed pair has in common; a duplicate has
# twice as many at least.
_SHARE = 0.35
_CHUNK = 50_000
_LEAST_MB = 700
_ROWS_A_MB = 500
_LIMITS = {"min_jaccard", "min_containment", "min_question_jaccard", "min_cosine"}
# No measure reaches it.
_NEVER = 2.0
# Part of the state: what another version has found is found again.
VERSION = f"2 {duckdb.__version__}"


class DuplicateSettings(BaseModel):
    """From which similarity on two texts are near duplicates."""

    model_config = ConfigDict(extra="forbid")

    min_jaccard: float = Field(
        0.7,
        ge=0.5,
        le=1,
        description="Two answers that share this share of all their word 5-grams are near"
        " duplicates.",
    )
    min_containment: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="So are two answers of which the longer one contains this share of the word"
        " 5-grams of the shorter one.",
    )
    min_question_jaccard: float = Field(
        0.7,
        ge=0.5,
        le=1,
        description="Two questions, or two short exchanges, that share this share of all their"
        " character 5-grams are near duplicates.",
    )
    min_answer_words: int = Field(
        30, ge=5, description="An answer with fewer words may be repeated under another question."
    )
    min_question_words: int = Field(
        4, ge=1, description="A question with fewer words may be repeated with another answer."
    )
    min_cosine: float = Field(
        0.85,
        ge=0.7,
        le=1,
        description="Least cosine of two answers that mean the same, if curate.semantic is on.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What is compared: `text` selects question and answer, `unit` parts what grams are made of."""

    name: str
    text: str = ""
    source: str = "unit_texts"
    unit: str = " "
    least: int = 1
    least_inside: int = 20  # a shorter text may stand in many others
    # The limits; without one the measure decides nothing.
    jaccard: str | None = "min_jaccard"
    containment: str | None = "min_containment"

    @property
    def is_short(self) -> bool:
        """Tell whether a word more or less may change what a text of this part says."""
        return self.name not in {"passages", "answers", "meanings"}


_PASSAGES = _Part(name="passages", least=5)
_LONG_ANSWER = (
    "NULL::VARCHAR AS question, CASE WHEN strlen(answer) > 20 * {words}"
    " OR words_of(answer) >= {words} THEN answer END AS answer"
)
_PAIR_PARTS = (
    _Part(name="answers", text=_LONG_ANSWER),
    # Short answers are compared together with their questions, in an overlapping range of lengths.
    _Part(
        name="exchanges",
        unit="",
        jaccard="min_question_jaccard",
        text="coalesce(question, '') AS question, CASE WHEN strlen(answer) <= 20 * {words}"
        " AND coalesce(strlen(question), 0) <= 1000 AND words_of(answer) < 1.5 * {words}"
        " THEN answer END AS answer",
    ),
    _Part(
        name="long_exchanges",
        text="question, CASE WHEN strlen(question) > 800 AND strlen(answer) <= 20 * {words}"
        " AND words_of(answer) < 1.5 * {words} THEN answer END AS answer",
    ),
    # Like containment, a cosine says nothing of a text that is like a third one.
    _Part(
        name="meanings",
        source="meant_texts",
        text=_LONG_ANSWER,
        least_inside=0,
        jaccard=None,
        containment="min_cosine",
    ),
    _Part(
        name="questions",
        unit="",
        jaccard="min_question_jaccard",
        containment=None,
        source="asked",
        text="NULL::VARCHAR AS question, CASE WHEN words_of(question) >= {question_words}"
        " THEN question END AS answer",
    ),
)


def drop_passages(tx: Transaction, settings: DuplicateSettings, now: datetime) -> None:
    """Write a verdict for each passage that is near a better one, of whatever source."""
    with tx.bounded(_megabytes(tx, "cut_passages")):
        _begin(tx, settings)
        tx.run("duplicates_passages", {})
        _compare(tx, _PASSAGES, settings)
        tx.execute(
            "CREATE OR REPLACE TEMP VIEW judged_ids AS SELECT 'passages' AS part, id,"
            " id AS subject_id, source_id FROM cut_passages"
        )
        _write(tx, "passages", settings, now)


def drop_pairs(tx: Transaction, settings: DuplicateSettings, now: datetime) -> None:
    """Write a verdict for each pair that is near a better one, of whatever source and kind.

    An answer of some words is one under any question; a shorter one only with its question. Of the
    same questions with other answers only written ones are dropped: people do ask twice.
    """
    with tx.bounded(_megabytes(tx, "own_pairs")):
        _begin(tx, settings)
        tx.run("duplicates_pairs", {})
        for part in _PAIR_PARTS:
            text = part.text.format(
                words=settings.min_answer_words, question_words=settings.min_question_words
            )
            tx.execute(f"CREATE OR REPLACE TEMP VIEW items AS SELECT id, {text} FROM {part.source}")
            tx.run("duplicates_standing", {"questions": part.name == "questions"})
            _compare(tx, part, settings)
        _write(tx, "pairs", settings, now)


def _megabytes(tx: Transaction, table: str) -> int:
    """Return how much memory a comparison may take: what does not fit goes to the disk."""
    return max(_LEAST_MB, _count(tx, table) // _ROWS_A_MB)


def _begin(tx: Transaction, settings: DuplicateSettings) -> None:
    known = tx.fetch("SELECT fingerprint FROM done WHERE step = 'duplicates'")
    state = f"{VERSION} {settings.min_answer_words} {settings.min_question_words}"
    if known != [(state,)]:
        for table in ("duplicate_texts", "duplicate_bands", "duplicate_links"):
            tx.execute(f"DELETE FROM {table}")
        tx.execute("DELETE FROM done WHERE step = 'duplicates'")
        tx.execute("INSERT INTO done VALUES ('*', 'duplicates', ?)", [state])
    tx.run("duplicates_begin", {})


def _compare(tx: Transaction, part: _Part, settings: DuplicateSettings) -> None:
    """Compare what is new in `items`, and add what becomes of each of `ranked` to `outcomes`."""
    values: dict[str, object] = {
        "part": part.name,
        "unit": part.unit,
        "least": part.least,
        "least_inside": part.least_inside,
        "most": _CROWD,
        "few": _FEW,
        "share": _SHARE,
        "short": part.is_short,
        "min_jaccard": getattr(settings, part.jaccard) if part.jaccard else _NEVER,
        "min_containment": getattr(settings, part.containment) if part.containment else _NEVER,
    }
    tx.run("duplicates_sign", values)
    if part.name == "meanings":
        tx.run("duplicates_meanings", values)
    elif _count(tx, "new_bands"):
        shared = "" if _all_new(tx, part) else "WHERE band IN (SELECT unnest(bands) FROM new_bands)"
        tx.execute(
            "CREATE OR REPLACE TEMP VIEW shared_bands AS FROM (SELECT words, unnest(bands) AS band"
            f" FROM duplicate_bands WHERE part = '{part.name}') {shared}"
        )
        tx.run("duplicates_propose", values)
        _measure(tx, "proposed", {**values, "every": False})
    tx.run("duplicates_rank", values)
    while _count(tx, "fates WHERE winner IS NULL"):
        tx.run("duplicates_round", values)
    # A loser that is linked to its winner over another text.
    tx.run("duplicates_unlinked", values)
    _measure(tx, "unlinked", {**values, "every": True})
    tx.run("duplicates_losers", values)


def _measure(tx: Transaction, pairs: str, values: Mapping[str, object]) -> None:
    """Store the exact similarities of pairs of texts, some at a time to bound the memory."""
    # Each chunk reads all texts once, so of many texts it takes more.
    n_texts = _count(tx, f"duplicate_bands WHERE part = '{values['part']}'")
    n_chunks = -(-_count(tx, pairs) // max(_CHUNK, n_texts // 2))
    for chunk in range(n_chunks):
        tx.execute(
            f"CREATE OR REPLACE TEMP TABLE compared AS FROM {pairs} WHERE words % ? = ?",
            [n_chunks, chunk],
        )
        if values["short"] and not values["every"]:
            tx.run("duplicates_sides", values)
        tx.run("duplicates_compare", values)


def _all_new(tx: Transaction, part: _Part) -> bool:
    known = f"duplicate_bands WHERE part = '{part.name}'"
    return _count(tx, known) == _count(tx, "new_bands")


def _count(tx: Transaction, rows: str) -> int:
    return int(tx.fetch(f"SELECT count(*) FROM {rows}")[0][0])


def _write(tx: Transaction, subject: str, settings: DuplicateSettings, now: datetime) -> None:
    limits = settings.model_dump(include=_LIMITS)
    tx.run("duplicates_verdicts", {"subject": subject, "now": now, **limits})
