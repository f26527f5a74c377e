"""A talk on the web page: both voices streamed at once, and what of it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from data.asked import opening
from data.compose import estimate_tokens
from data.errors import MemoiristError
from data.saved import Ended, Exchange, cut
from data.text import neutralise
from flows.context import Context
from flows.saving import save_exchange
from flows.voices import TUNED
from generators.client.client import Piece, stream_chat

Message = dict[str, str]
Pieces = asyncio.Queue[tuple[str, Piece] | MemoiristError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows and asks: the models' names by voice, and who the persona is.

    `room` is the context of the models in tokens.
    """

    context: Context
    persona: str
    lang: str
    run_id: str
    url: str
    names: Mapping[str, str]
    system: str
    room: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """How an answer is asked for."""

    system: str
    temperature: float
    top_p: float
    max_tokens: int


class Histories:
    """One visitor's talk: the turns with each voice, how the last answers ended, what was saved.

    No dataclass, since Gradio would turn one into a dictionary.
    """

    def __init__(self) -> None:
        self.turns: dict[str, list[Message]] = {}
        self.saved: str | None = None
        self.ends: dict[str, Ended] = {}
        # The most that an answer could have.
        self.n_tokens = 0

    def last(self, voice: str) -> tuple[str, str] | None:
        """Return the last question and its answer, None before the first."""
        turns = self.turns.get(voice, [])
        return (turns[-2]["content"], turns[-1]["content"]) if len(turns) > 1 else None

    def take_back(self) -> str | None:
        """Forget the last exchange and return its question."""
        question = next((last[0] for v in self.turns if (last := self.last(v))), None)
        for turns in self.turns.values():
            del turns[-2:]
        self.saved = None
        return question

    def told(self) -> str:
        """Return which answers were cut, or nothing; who has pressed Stop knows it."""
        fault = cut("limit", self.n_tokens)
        voices = [voice for voice, ended in self.ends.items() if ended == "limit"]
        return " ".join(f"The answer of {voice} {fault}." for voice in voices)


async def answers(
    page: Page, histories: Histories, said: str, controls: Controls
) -> AsyncIterator[Histories]:
    """Yield the histories as the answers of all voices grow in them, side by side.

    Raises EndpointError where the server fails; what has come until then stays.
    """
    asked = neutralise(said.strip())
    prompts = {}
    for voice in page.names:
        turns = histories.turns.setdefault(voice, [])
        prompts[voice] = fitted([*turns, {"role": "user", "content": asked}], page, controls)
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": ""}]
    histories.saved, histories.n_tokens = None, controls.max_tokens
    histories.ends = dict.fromkeys(page.names, "stopped")
    pieces: Pieces = asyncio.Queue()
    tasks = [asyncio.create_task(_ask(page, v, prompts[v], controls, pieces)) for v in prompts]
    try:
        left = len(tasks)
        while left:
            piece = await pieces.get()
            if isinstance(piece, MemoiristError):
                raise piece
            voice, said_now = piece
            answer = histories.turns[voice][-1]
            if said_now.words and not answer["content"] and voice == TUNED:
                answer["content"] = _begun(page, asked)
            answer["content"] += said_now.words
            if said_now.finish:
                histories.ends[voice] = "limit" if said_now.finish == "length" else "end"
                left -= 1
            yield histories
    finally:
        # The visitor has pressed Stop or gone: the server ends what nobody reads.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _begun(page: Page, asked: str) -> str:
    """Return what comes before the answer: no server goes on from given words, so it stands apart.

    It comes with the first of the model's words, so that an answer that never came stays empty.
    """
    told = opening(asked, page.persona, page.lang) if page.persona else None
    return f"{told}\n\n" if told else ""


async def _ask(
    page: Page,
    voice: str,
    messages: Sequence[Message],
    controls: Controls,
    pieces: Pieces,
) -> None:
    options = {
        "temperature": controls.temperature,
        "top_p": controls.top_p,
        "max_tokens": controls.max_tokens,
    }
    try:
        stream = stream_chat(page.url, page.names[voice], messages, options)
        async with aclosing(stream) as coming:  # type: ignore[type-var]
            async for piece in coming:
                await pieces.put((voice, piece))
    except MemoiristError as error:
        await pieces.put(error)


def fitted(turns: Sequence[Message], page: Page, controls: Controls) -> list[Message]:
    """Return the system prompt and as many of the latest exchanges as the context has room for.

    A question that was never answered, because the server failed, is left out.
    Tokens are estimated, with half as many again for vocabularies smaller than usual.
    """
    system = neutralise(controls.system.strip())
    first = [{"role": "system", "content": system}] if system else []
    limit = page.room - min(controls.max_tokens, page.room // 2)
    pairs = [turns[place : place + 2] for place in range(0, len(turns), 2)]
    kept = [turn for pair in pairs if pair[-1]["content"].strip() for turn in pair]
    while len(kept) > 2 and 1.5 * estimate_tokens([*first, *kept]) > limit:
        del kept[:2]
    return [*first, *kept]


def save_last(page: Page, histories: Histories, words: str) -> str:
    """Save the tuned voice's last answer, or better words for it; tells what was done."""
    last = histories.last(TUNED)
    if last is None:
        return "Nothing has been answered yet."
    question, answer = last[0], last[1].strip()
    words = words.strip()
    ended = histories.ends.get(TUNED, "stopped")
    fault = cut(ended, histories.n_tokens) if answer else "is empty"
    if not words and fault:
        more = "give it more tokens in the settings and Answer again, or "
        way = f"{more if ended == 'limit' else ''}write better words"
        return f"Not saved: the last answer {fault}; {way}."
    exchange = Exchange(
        question=question,
        answer=words or answer,
        persona=page.persona,
        answered_by=page.run_id,
        edited=bool(words) and words != answer,
    )
    before = histories.saved
    try:
        kept = save_exchange(page.context, exchange, before)
    except MemoiristError as error:
        return f"Not saved: {error}"
    histories.saved = kept.passage_id
    if before not in {None, kept.passage_id}:
        return "Saved in place of the words before."
    if kept.told == "known":
        return "It is saved already."
    return "Saved: the next `memoirist build` trains on it."
