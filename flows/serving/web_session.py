"""The chat session of one visitor of the page: all models streamed at once from the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from memoirist.data.composition.conversations import estimate_tokens
from memoirist.data.schema.errors import MemoiristError
from memoirist.data.text.sanitizer import neutralise
from memoirist.flows.chat.backends import ChosenModel
from memoirist.flows.chat.chat_session import ChatSession, Message
from memoirist.flows.runtime.context import Context
from memoirist.generators.client.client import Piece, stream_chat

Pieces = asyncio.Queue[tuple[str, Piece] | MemoiristError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The persona of the page, the model server, and the served names of the models by kind.

    `context_tokens` is the length of the models' context.
    """

    context: Context
    chosen: ChosenModel
    url: str
    models: Mapping[str, str]
    system: str
    context_tokens: int

    @property
    def persona(self) -> str:
        """Return the persona's name."""
        return self.chosen.recipe.persona.name


class PageChat(ChatSession):
    """A session whose models answer over HTTP."""

    ADVICE = {  # noqa: RUF012 - a constant
        "limit": "give it more tokens in the settings and Answer again, or ",
        "words": "write better words",
    }

    def __init__(self, page: Page) -> None:
        """Begin with the page's system prompt."""
        from memoirist.train.settings import ChatSettings

        systems = dict.fromkeys(page.models, page.system)
        super().__init__(page.context, page.chosen, systems, ChatSettings())
        self.page = page

    def set_controls(self, system: str, temperature: float, top_p: float, tokens: int) -> None:
        """Apply the settings from the page."""
        self.systems = dict.fromkeys(self.systems, neutralise(system.strip()))
        self.configure(temperature=temperature, top_p=top_p, max_new_tokens=tokens)

    def cut_answers(self) -> str:
        """Return which answers were cut at the limit of tokens, "" for none."""
        faults = self.faults().items()
        return " ".join(
            f"The answer of {name} {fault}." for name, fault in faults if self.ends[name] == "limit"
        )

    async def stream(self, question: str) -> AsyncIterator[None]:
        """Request all answers at once; yield each time that one of them has grown.

        Raise EndpointError where the server fails; the answers keep what they have.
        """
        length = self.page.context_tokens
        room = length - min(self.settings.max_new_tokens, length // 2)
        prompts = {name: fit_messages(self.prompt(name, question), room) for name in self.systems}
        self.ask(question)
        pieces: Pieces = asyncio.Queue()
        tasks = [asyncio.create_task(self._request(n, p, pieces)) for n, p in prompts.items()]
        try:
            unfinished = len(tasks)
            while unfinished:
                received = await pieces.get()
                if isinstance(received, MemoiristError):
                    raise received
                name, piece = received
                self._append(name, question, piece.words)
                if piece.finish:
                    self.end(name, "limit" if piece.finish == "length" else "end")
                    unfinished -= 1
                yield
        finally:
            # After Stop, or when the visitor has left, the server stops generating.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _append(self, name: str, question: str, words: str) -> None:
        """Add words to an answer, with the disclosure before the first ones where it is due.

        No server continues a given beginning, so the disclosure is a paragraph of its own; an
        answer that never comes stays empty.
        """
        start = self.opening(name, question) if words and not self.answers[name] else ""
        self.extend(name, f"{start}\n\n{words}" if start else words)

    async def _request(self, name: str, messages: Sequence[Message], pieces: Pieces) -> None:
        """Put the pieces of one model's answer into the queue, or the error that ended it."""
        options = {
            "temperature": self.settings.temperature,
            "top_p": self.settings.top_p,
            "max_tokens": self.settings.max_new_tokens,
        }
        try:
            answer = stream_chat(self.page.url, self.page.models[name], messages, options)
            async with aclosing(answer) as stream:  # type: ignore[type-var]
                async for piece in stream:
                    await pieces.put((name, piece))
        except MemoiristError as error:
            await pieces.put(error)


def fit_messages(messages: Sequence[Message], room: int) -> list[Message]:
    """Return the system prompt and as many of the latest exchanges as `room` tokens hold.

    The estimate of tokens is raised by half, for small vocabularies.
    """
    kept = list(messages)
    first = 1 if kept and kept[0]["role"] == "system" else 0
    while len(kept) > first + 2 and 1.5 * estimate_tokens(kept) > room:
        del kept[first : first + 2]
    return kept
