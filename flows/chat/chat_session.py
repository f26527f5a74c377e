"""The chat session of terminal and page: its history, and the exchanges that it saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from memoirist.data.composition.disclosure import opening
from memoirist.data.composition.saved_exchanges import (
    FORMAT,
    Ended,
    Exchange,
    Saved,
    cut,
    replaced,
    save,
)
from memoirist.data.curation import pairing
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Verdict
from memoirist.data.store.transaction import Transaction
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import TUNED, Chosen
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.settings import ChatSettings

_ALIKE = (
    "SELECT id FROM pairs WHERE question = ? AND answer = ? AND source_id <> ? ORDER BY id LIMIT 1"
)
_HELD = "id IN (SELECT unnest(pair_ids) FROM conversations)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The passage that holds the saved answer, and whether it was there before."""

    passage_id: str
    known: bool


def save_exchange(context: Context, exchange: Exchange, instead_of: str | None = None) -> Kept:
    """Write an exchange as a pair that the next dataset takes; the same words twice are one.

    `instead_of` is the passage that better words replace: it gets the verdict that says so. Raises
    StoreLocked where another program holds the store for longer than a few seconds, NothingToDo
    where what is saved in chat has been withdrawn.
    """
    store = context.workspace.store
    lang = persona_language(context)
    with store.writing() as tx:
        if tx.fetch(
            "SELECT 1 FROM sources WHERE format = ? AND withdrawn_at IS NOT NULL", [FORMAT]
        ):
            raise NothingToDo(
                "what is saved in chat has been withdrawn from this workspace",
                "take it back in with `memoirist withdraw 'saved in chat' --undo`",
            )
        ((place,),) = tx.fetch(
            "SELECT coalesce(max(p.ord) + 1, 0) FROM cut_passages p JOIN sources s"
            " ON s.id = p.source_id WHERE s.format = ?",
            [FORMAT],
        )
        saved = save(exchange, place, context.now)
        known = bool(tx.fetch("SELECT 1 FROM cut_passages WHERE id = ?", [saved.passage.id]))
        _write(tx, saved, known=known)
        _pair(tx, saved, context, lang)
        if instead_of not in {None, saved.passage.id}:
            tx.upsert([replaced(str(instead_of), saved, context.now)])
            _unpair(tx, str(instead_of), saved, context)
    return Kept(passage_id=saved.passage.id, known=known)


def _write(tx: Transaction, saved: Saved, *, known: bool) -> None:
    # What the ledger says of the source since, and when it came, stays.
    if not tx.fetch("SELECT 1 FROM sources WHERE id = ?", [saved.source.id]):
        tx.upsert([saved.source])
        tx.upsert([saved.document])
    if not known:
        tx.upsert([saved.passage])
        tx.upsert([saved.question])
    # Saved again after other words had replaced it.
    tx.execute(
        "DELETE FROM verdicts WHERE subject_id = ? AND rule = 'replaced'", [saved.passage.id]
    )
    tx.upsert([saved.verdict])


def _pair(tx: Transaction, saved: Saved, context: Context, lang: str) -> None:
    """Write the pair as `curate` would, so that what is composed before that takes it as well."""
    (pair,) = pairing.pair([saved.passage], [saved.question])
    words = [saved.question.text, saved.passage.text, saved.source.id]
    alike = [replace(pair, id=name) for (name,) in tx.fetch(_ALIKE, words)]
    scored, verdicts = pairing.judge([*alike, pair], lang, context.recipe.curate, context.now)
    tx.execute("DELETE FROM verdicts WHERE subject_id = ? AND step = 'curate'", [pair.id])
    tx.upsert(scored[-1:])
    tx.upsert([replace(v, step="curate", source_id=saved.source.id) for v in verdicts])


def _unpair(tx: Transaction, passage_id: str, better: Saved, context: Context) -> None:
    """Take out the pair of replaced words; one that a dataset holds stays for the way back."""
    tx.execute(f"DELETE FROM made_pairs WHERE passage_id = ? AND NOT {_HELD}", [passage_id])
    tx.upsert(
        [
            Verdict(
                subject_id=name,
                subject="pairs",
                rule="superseded",
                keep=False,
                reason="an earlier dataset holds it; you have saved better words since",
                created_at=context.now,
                next_step="nothing",
                step="curate",
                source_id=better.source.id,
            )
            for (name,) in tx.fetch("SELECT id FROM made_pairs WHERE passage_id = ?", [passage_id])
        ]
    )


Message = dict[str, str]


class ChatSession:
    """One conversation with one model, or with several side by side, each with its own history.

    It asks no model itself: `prompt` tells what to ask, `ask`, `extend` and `end` take the answer.
    No dataclass, since Gradio would turn one into a dictionary.
    """

    # What to do about an answer that is not saved, by how it ended, and how words are given.
    ADVICE: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        context: Context,
        chosen: Chosen,
        systems: Mapping[str, str],
        settings: ChatSettings,
    ) -> None:
        """Begin with a system prompt for each model by its name."""
        self.context = context
        self.chosen = chosen
        self.persona = chosen.recipe.persona.name
        self.lang = persona_language(context)
        self.systems = {name: neutralise(system) for name, system in systems.items()}
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the conversation."""
        self.histories: dict[str, list[Message]] = {name: [] for name in self.systems}
        # The last exchange: its question, and by model its answer and how that ended.
        self.question: str | None = None
        self.answers: dict[str, str] = {}
        self.ends: dict[str, Ended] = {}
        self.saved_passage: str | None = None

    def configure(self, **values: object) -> None:
        """Change settings of the answers that are still to come."""
        self.settings = self.settings.model_copy(update=values)

    def prompt(self, name: str, question: str) -> list[Message]:
        """Return the messages that lead to a model's next answer, control tokens defused.

        A question that was never answered, because its model failed, is left out.
        """
        system = self.systems[name]
        history = self.histories[name]
        return [
            *([{"role": "system", "content": system}] if system else []),
            *(
                message
                for asked, answer in zip(history[::2], history[1::2], strict=True)
                if answer["content"].strip()
                for message in (asked, answer)
            ),
            {"role": "user", "content": neutralise(question)},
        ]

    def opening(self, name: str, question: str) -> str:
        """Return how an answer must begin: with the disclosure where the question asks for it."""
        if name != TUNED or not (self.settings.disclose and self.persona):
            return ""
        return opening(question, self.persona, self.lang) or ""

    def ask(self, question: str) -> None:
        """Begin an exchange; its answers are empty and count as stopped until they end."""
        self.question, self.saved_passage = question, None
        self.answers = dict.fromkeys(self.systems, "")
        self.ends = dict.fromkeys(self.systems, "stopped")
        for history in self.histories.values():
            history.append({"role": "user", "content": neutralise(question)})
            history.append({"role": "assistant", "content": ""})

    def extend(self, name: str, piece: str) -> None:
        """Add a piece to a model's answer."""
        self.answers[name] += piece
        # A model may have learnt to write control tokens out; its own words open no turn either.
        self.histories[name][-1]["content"] = neutralise(self.answers[name])

    def end(self, name: str, ended: Ended) -> None:
        """Note how a model's answer came to its end."""
        self.ends[name] = ended

    def take_back(self) -> str:
        """Forget the last exchange and return its question, to be answered by another draw."""
        question = self.question
        if question is None:
            raise NothingToDo("nothing has been asked yet", "ask something first")
        for history in self.histories.values():
            del history[-2:]
        self.question = None
        self.configure(seed=self.settings.seed + 1)
        return question

    def faults(self) -> dict[str, str]:
        """Return what kept an answer from coming to its end, by the model's name."""
        limit = self.settings.max_new_tokens
        return {name: fault for name, end in self.ends.items() if (fault := cut(end, limit))}

    def save(self, words: str = "") -> str:
        """Keep the last exchange for the next dataset, with better words where some are given.

        Returns what was done, in one line. Raises NothingToDo where there is nothing to save and
        StoreLocked where the store is held for longer than a few seconds.
        """
        if self.question is None:
            raise NothingToDo("nothing has been answered yet", "ask something first")
        answer, words = self.answers[TUNED].strip(), words.strip()
        fault = self.faults().get(TUNED) if answer else "is empty"
        if fault and not words:
            way = self.ADVICE.get(self.ends[TUNED], "") if answer else ""
            way = way.format(more=2 * self.settings.max_new_tokens)
            raise NothingToDo(f"the last answer {fault}", f"{way}{self.ADVICE['words']}")
        exchange = Exchange(
            question=self.question,
            answer=words or answer,
            persona=self.persona,
            answered_by=self.chosen.run.id,
            edited=bool(words) and words != answer,
        )
        before = self.saved_passage
        kept = save_exchange(self.context, exchange, before)
        self.saved_passage = kept.passage_id
        if before not in {None, kept.passage_id}:
            return "saved in place of the words before"
        if kept.known:
            return "it is saved already"
        return "saved: the next `memoirist build` trains on it"
