"""The chat session of the terminal and of the page: what was asked, answered and saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from memoirist.data.composition.disclosure import opening
from memoirist.data.composition.saved_exchanges import Ended, Exchange, cut
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import TUNED, Chosen
from memoirist.flows.chat.saved_exchanges import save_exchange
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.settings import ChatSettings


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
