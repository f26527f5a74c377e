"""The chat session of terminal and page: its history, and the exchanges that it saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from memoirist.data.schema.records import Fault
from memoirist.data.store.transaction import Transaction
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import TUNED, ChosenModel
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.settings import ChatSettings

_DUPLICATE = (
    "SELECT id FROM kept WHERE question = ? AND answer = ? AND source_id <> ? ORDER BY id LIMIT 1"
)
_IN_DATASET = "id IN (SELECT unnest(pair_ids) FROM conversations)"
_SUPERSEDED = Fault(
    "superseded",
    "only an earlier dataset contains it; you have saved better words since",
    "nothing",
)


def save_exchange(
    context: Context, exchange: Exchange, previous: str | None = None
) -> tuple[str, bool]:
    """Write an exchange as a pair that the next dataset takes; the same words are saved once.

    `previous` is the id of the passage that better words replace; it gets a verdict. Return the
    passage's id and whether it was saved before. Raise StoreLocked where another program holds the
    store for longer than a few seconds, NothingToDo where the saved exchanges are withdrawn.
    """
    store = context.workspace.store
    with store.writing() as tx:
        if tx.fetch(
            "SELECT 1 FROM sources WHERE format = ? AND withdrawn_at IS NOT NULL", [FORMAT]
        ):
            raise NothingToDo(
                "the exchanges saved in chat have been withdrawn from this workspace",
                "take them back in with `memoirist withdraw 'saved in chat' --undo`",
            )
        ((ord_,),) = tx.fetch(
            "SELECT coalesce(max(p.ord) + 1, 0) FROM cut_passages p JOIN sources s"
            " ON s.id = p.source_id WHERE s.format = ?",
            [FORMAT],
        )
        saved = save(exchange, ord_, context.now)
        known = bool(tx.fetch("SELECT 1 FROM cut_passages WHERE id = ?", [saved.passage.id]))
        _write(tx, saved, known=known)
        _pair(tx, saved, context)
        if previous is not None and previous != saved.passage.id:
            tx.upsert([replaced(previous, saved, context.now)])
            _unpair(tx, previous, saved, context)
    return saved.passage.id, known


def _write(tx: Transaction, saved: Saved, *, known: bool) -> None:
    # An existing source keeps its rights and the time when it was added.
    if not tx.fetch("SELECT 1 FROM sources WHERE id = ?", [saved.source.id]):
        tx.upsert([saved.source])
        tx.upsert([saved.document])
    if not known:
        tx.upsert([saved.passage])
        tx.upsert([saved.question])
    # The user may save words again that other words had replaced.
    tx.execute(
        "DELETE FROM verdicts WHERE subject_id = ? AND rule = 'replaced'", [saved.passage.id]
    )
    tx.upsert([saved.verdict])


def _pair(tx: Transaction, saved: Saved, context: Context) -> None:
    """Write the pair as `curate` does, so that `compose` takes it without another `curate`."""
    (pair,) = pairing.pair([saved.passage], [saved.question])
    words = [saved.question.text, saved.passage.text, saved.source.id]
    tx.execute(
        "DELETE FROM verdicts WHERE subject_id = ? AND step IN ('curate', 'dedupe')", [pair.id]
    )
    tx.upsert([pair])
    for (other,) in tx.fetch(_DUPLICATE, words):
        fault = Fault("duplicate", f"pair {other} has the same words", "nothing", 1.0, other)
        verdict = fault.verdict("pairs", pair.id, context.now)
        tx.upsert([replace(verdict, step="dedupe", source_id=saved.source.id)])


def _unpair(tx: Transaction, passage_id: str, saved: Saved, context: Context) -> None:
    """Delete the pair of replaced words; one that a dataset holds is kept for its lineage."""
    tx.execute(f"DELETE FROM made_pairs WHERE passage_id = ? AND NOT {_IN_DATASET}", [passage_id])
    pairs = tx.fetch("SELECT id FROM made_pairs WHERE passage_id = ?", [passage_id])
    verdicts = [_SUPERSEDED.verdict("pairs", pair_id, context.now) for (pair_id,) in pairs]
    tx.upsert([replace(item, step="curate", source_id=saved.source.id) for item in verdicts])


Message = dict[str, str]


class ChatSession:
    """One conversation with one model, or with several side by side, each with its own history.

    It calls no model itself: `prompt` returns the messages to send; `ask`, `extend` and `end`
    record the answer. It is no dataclass, because Gradio would turn one into a dictionary.
    """

    # Advice on an answer that is not saved, by how it ended; "words": how to give better words.
    ADVICE: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        context: Context,
        chosen: ChosenModel,
        systems: Mapping[str, str],
        settings: ChatSettings,
    ) -> None:
        """Begin with a system prompt for each model, by its name."""
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
        """Change the settings of later answers."""
        self.settings = self.settings.model_copy(update=values)

    def prompt(self, name: str, question: str) -> list[Message]:
        """Return the messages for a model's next answer, without control tokens.

        A question without an answer, whose model failed, is left out.
        """
        system = self.systems[name]
        history = self.histories[name]
        return [
            *([{"role": "system", "content": system}] if system else []),
            *(
                message
                for asking, answer in zip(history[::2], history[1::2], strict=True)
                if answer["content"].strip()
                for message in (asking, answer)
            ),
            {"role": "user", "content": neutralise(question)},
        ]

    def opening(self, name: str, question: str) -> str:
        """Return the disclosure with which an answer must begin, "" where it is not asked for."""
        if name != TUNED or not (self.settings.disclose and self.persona):
            return ""
        return opening(question, self.persona, self.lang) or ""

    def ask(self, question: str) -> None:
        """Begin an exchange; until its answers end they are empty and count as stopped."""
        self.question, self.saved_passage = question, None
        self.answers = dict.fromkeys(self.systems, "")
        self.ends = dict.fromkeys(self.systems, "stopped")
        for history in self.histories.values():
            history.append({"role": "user", "content": neutralise(question)})
            history.append({"role": "assistant", "content": ""})

    def extend(self, name: str, piece: str) -> None:
        """Add a piece to a model's answer."""
        self.answers[name] += piece
        # A model may have learnt to spell out control tokens; they must not open a turn.
        self.histories[name][-1]["content"] = neutralise(self.answers[name])

    def end(self, name: str, ended: Ended) -> None:
        """Record how a model's answer ended."""
        self.ends[name] = ended

    def take_back(self) -> str:
        """Remove the last exchange and return its question; the next answer has another seed."""
        question = self.question
        if question is None:
            raise NothingToDo("nothing has been asked yet", "ask something first")
        for history in self.histories.values():
            del history[-2:]
        self.question = None
        self.configure(seed=self.settings.seed + 1)
        return question

    def faults(self) -> dict[str, str]:
        """Return why an answer is incomplete, by the model's name."""
        limit = self.settings.max_new_tokens
        return {name: fault for name, end in self.ends.items() if (fault := cut(end, limit))}

    def save(self, words: str = "") -> str:
        """Save the last exchange for the next dataset, with `words` as its answer if given.

        Return the result in one line. Raise NothingToDo where there is nothing to save, StoreLocked
        where another program holds the store for longer than a few seconds.
        """
        if self.question is None:
            raise NothingToDo("nothing has been answered yet", "ask something first")
        answer, words = self.answers[TUNED].strip(), words.strip()
        fault = self.faults().get(TUNED) if answer else "is empty"
        if fault and not words:
            advice = self.ADVICE.get(self.ends[TUNED], "") if answer else ""
            advice = advice.format(more=2 * self.settings.max_new_tokens)
            raise NothingToDo(f"the last answer {fault}", f"{advice}{self.ADVICE['words']}")
        exchange = Exchange(
            question=self.question,
            answer=words or answer,
            persona=self.persona,
            answered_by=self.chosen.run.id,
            edited=bool(words) and words != answer,
        )
        previous = self.saved_passage
        self.saved_passage, known = save_exchange(self.context, exchange, previous)
        if previous not in {None, self.saved_passage}:
            return "saved in place of the earlier words"
        if known:
            return "it has already been saved"
        return "saved: the next `memoirist build` trains on it"
