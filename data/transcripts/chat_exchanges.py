"""Find the exchanges of a chat: every message is whole, and answers are short."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from memoirist.data.passages.borders import size
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.records import Block, Fault
from memoirist.data.transcripts.spoken_exchanges import Exchange, Talk, joined


class ChatTalk(Talk):
    """The rules for one conversation of a chat.

    Any message with words can be answered, so that no answer goes on over another's message; the
    persona's messages after a long pause are an answer of their own.
    """

    keys = MappingProxyType(
        {
            "min_spoken_words": "min_chat_words",
            "min_reply_words": "min_chat_reply_words",
            # A question is written for it, as for a monologue of a talk.
            "min_unasked_words": "min_spoken_words",
        }
    )

    def __init__(
        self,
        turns: Sequence[Block],
        persona: str,
        lang: str | None,
        settings: PassageSettings,
        breaks: frozenset[int] = frozenset(),
    ) -> None:
        """Measure the turns of everybody, by the limits of chats instead of those of talks.

        `breaks` are the places of what others sent beside words: a picture may be what is answered.
        """
        limits = {
            "min_spoken_words": settings.min_chat_words,
            "min_reply_words": settings.min_chat_reply_words,
        }
        super().__init__(turns, persona, lang, settings.model_copy(update=limits))
        self.min_unasked_words = settings.min_spoken_words
        self.breaks = breaks

    def _is_same(self, before: Block, turn: Block) -> bool:
        if any(before.ord < place < turn.ord for place in self.breaks):
            return False
        if before.end_seconds is None or turn.start_seconds is None:
            return True
        pause = turn.start_seconds - before.end_seconds
        return pause <= 60 * self.settings.max_chat_pause_minutes

    def _is_aside(self, before: Exchange, exchange: Exchange) -> bool:
        """Tell whether others only sent signs, such as emoji, in between."""
        return bool(exchange.questions) and not size(joined(exchange.questions))

    def _asks(self, text: str) -> bool:
        return size(text) > 0

    def reject(self, question: str | None, answer: str) -> Fault | None:
        """Return why an answer to a message, or to none, is not learnt; None for a good one."""
        n_words = size(answer)
        if (fault := self.says_little(question, answer)) is not None:
            return fault
        if question is None and n_words < self.min_unasked_words:
            return self.fault("unasked", n_words, self.min_unasked_words)
        replies = question is not None and not self.is_question(question)
        if replies and n_words < self.settings.min_reply_words:
            return self.fault("short_reply", n_words, self.settings.min_reply_words)
        return None
