"""A talk: who was asked what, what each voice answered, and what of it is worth keeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memoirist.data.composition.disclosure import opening
from memoirist.data.composition.saved_exchanges import Ended, Exchange, cut
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import (
    FEW_SHOT,
    TUNED,
    Choice,
    Voice,
    chosen,
    few_shot_of,
    open_voices,
    shipped_prompt,
)
from memoirist.flows.chat.saved_exchanges import save_exchange
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.flows.chat.backends import Chosen
    from memoirist.train.inference.chat_model import Answer
    from memoirist.train.settings import ChatSettings


# What else there is to do about an answer that is not saved.
_MORE_ROOM: dict[Ended, str] = {
    "limit": "/tokens {more}, then /regen, or ",
    "context": "/reset and ask again, or ",
}


@dataclass(slots=True, kw_only=True)
class Answered:
    """The last exchange; `ended` tells how the tuned answer came to its end."""

    question: str
    answers: Mapping[str, str]
    ended: Ended
    saved: str | None = None


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation with one model, or with three side by side."""

    context: Context
    meant: Chosen
    system: str
    voices: dict[str, Voice]
    settings: ChatSettings
    histories: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    last: Answered | None = None

    @classmethod
    def open(
        cls,
        context: Context,
        choice: Choice,
        system: str | None,
        wanted: Mapping[str, object],
        *,
        compare: bool,
    ) -> Talk:
        """Load the models; NothingToDo before the first build, TrainError for a missing step."""
        from memoirist.train.settings import ChatSettings

        meant = chosen(context, choice)
        prompt = neutralise(shipped_prompt(context, meant) if system is None else system)
        return cls(
            context=context,
            meant=meant,
            system=prompt,
            voices=open_voices(context, meant, choice, prompt, compare=compare),
            settings=ChatSettings.model_validate(wanted),
        )

    @property
    def name(self) -> str:
        """Return the persona's name."""
        return self.meant.recipe.persona.name

    def messages(self, which: str, said: str) -> list[dict[str, str]]:
        """Return the messages that lead to a voice's next answer, control tokens defused."""
        system = self.voices[which].system
        opening = [{"role": "system", "content": system}] if system else []
        asked = {"role": "user", "content": neutralise(said)}
        return [*opening, *self.histories.get(which, []), asked]

    def answer(self, which: str, said: str) -> Answer:
        """Return a voice's answer in pieces; what does not fit its context is left out in front."""
        voice = self.voices[which]
        begun = self._opening(said) if which == TUNED else ""
        return voice.talker.answer(self.messages(which, said), self.settings, begun)

    def _opening(self, said: str) -> str:
        """Return how an answer must begin: with the disclosure where it is asked for."""
        if not (self.settings.disclose and self.name):
            return ""
        return opening(said, self.name, persona_language(self.context)) or ""

    def remember(self, said: str, answers: Mapping[str, str], ended: Ended = "end") -> None:
        """Add an exchange to the histories and make it the last one."""
        for which, answer in answers.items():
            history = self.histories.setdefault(which, [])
            history.append({"role": "user", "content": neutralise(said)})
            # A model may have learnt to write such tokens out; its own words open no turn either.
            history.append({"role": "assistant", "content": neutralise(answer)})
        self.last = Answered(question=said, answers=dict(answers), ended=ended)

    def take_back(self) -> str:
        """Forget the last exchange and return its question, to be answered by another draw."""
        if self.last is None:
            raise NothingToDo("nothing has been asked yet", "ask something first")
        for history in self.histories.values():
            del history[-2:]
        question, self.last = self.last.question, None
        self.settings = self.settings.model_copy(update={"seed": self.settings.seed + 1})
        return question

    def forget(self) -> None:
        """Begin anew."""
        self.histories.clear()
        self.last = None

    def allow(self, n_tokens: int) -> None:
        """Let the next answers have so many tokens."""
        self.settings = self.settings.model_copy(update={"max_new_tokens": n_tokens})

    def tell(self, system: str) -> None:
        """Set the system prompt of all voices; the examples of the prompted base stay."""
        self.system = neutralise(system)
        for voice in self.voices.values():
            voice.system = self.system
            if voice.name == FEW_SHOT:
                room = voice.talker.room
                voice.system = few_shot_of(self.context, self.meant, self.system, room)

    def save(self, words: str = "") -> str:
        """Keep the last exchange for the next dataset, with better words where some are given.

        Returns what was done, in one line. Raises NothingToDo where there is nothing to save and
        StoreLocked where the store is held for longer than a few seconds.
        """
        last = self.last
        if last is None:
            raise NothingToDo("nothing has been answered yet", "ask something first")
        said = last.answers[TUNED].strip()
        fault = cut(last.ended, self.settings.max_new_tokens) if said else "is empty"
        if not words and fault:
            more = _MORE_ROOM.get(last.ended, "") if said else ""
            more = more.format(more=2 * self.settings.max_new_tokens)
            raise NothingToDo(
                f"the last answer {fault}", f"{more}give the words: /save What it should say"
            )
        exchange = Exchange(
            question=last.question,
            answer=words or said,
            persona=self.name,
            answered_by=self.meant.run.id,
            edited=bool(words) and words != said,
        )
        kept = save_exchange(self.context, exchange, last.saved)
        if kept.told == "known" and last.saved in {None, kept.passage_id}:
            told = "it is saved already"
        elif last.saved not in {None, kept.passage_id}:
            told = "saved in place of the words before"
        else:
            told = "saved: the next `memoirist build` trains on it"
        last.saved = kept.passage_id
        return told
