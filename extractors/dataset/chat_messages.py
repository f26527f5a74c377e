"""Make exchanges of a row's messages: sides, their order, and the best path of message trees."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from memoirist.extractors.dataset.row_chunks import BadRow

Side = Literal["system", "asked", "answered"]
Node = Mapping[str, Any]
_TOOL_RESULTS = "observation tool function ipython function_response tool_response".split()
_TOOL_CALLS = "function_call tool_call".split()
_TOOLS = {*_TOOL_RESULTS, *_TOOL_CALLS}
_ASKING = "user human prompter instruction question customer".split()
_ANSWERING = "assistant gpt chatgpt bot chatbot model ai answer".split()
_SIDES: dict[str, Side] = {
    "system": "system",
    "developer": "system",
    **dict.fromkeys([*_ASKING, *_TOOL_RESULTS], "asked"),
    **dict.fromkeys([*_ANSWERING, *_TOOL_CALLS], "answered"),
}
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_SPACED = re.compile(rf"(?<=[{_HAN}，。！？、；：…“”（）]) +| +(?=[{_HAN}，。！？、；：…“”（）])")
_MEDIA = re.compile(r"<(?:image|audio|video)>")


@dataclass(slots=True)
class Turn:
    """One turn; `learn` is False where the dataset gives it no weight."""

    side: Side
    text: str
    learn: bool = True


@dataclass(slots=True)
class ParsedRow:
    """What a row holds: its exchanges as (question, answer), the system prompt, and flags.

    A raw text has the question None. Exchanges that stand `apart` are no conversation.
    """

    exchanges: list[tuple[str | None, str]]
    system: str | None = None
    notes: Counter[str] = field(default_factory=Counter)
    apart: bool = False


def turn_of(message: object, at: int, notes: Counter[str]) -> Turn:
    """Return one message of any schema as a turn; raise BadRow where it breaks the schema."""
    where = f"message {at + 1}"
    if not isinstance(message, Mapping):
        raise BadRow("row_shape", f"{where} is no JSON object")
    role = _first_value(message, ("role", "from", "speaker"))
    name = str(role).strip().lower()
    if name not in _SIDES:
        raise BadRow("row_role", f"{where} has the unknown role {role!r}")
    if name in _TOOLS:
        notes["tool_turns"] += 1
    content = _first_value(message, ("content", "value", "message", "text"))
    calls = message.get("tool_calls") or message.get("function_call")
    if content in (None, "") and calls:
        notes["tool_turns"] += 1
        content = json.dumps(calls, ensure_ascii=False)
    weight = message.get("weight", message.get("loss_weight"))
    return Turn(_SIDES[name], text_of(content, where), learn=weight is None or float(weight) > 0)


def _first_value(message: Mapping[Any, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401
    return next((message[key] for key in keys if key in message), None)


def text_of(content: object, where: str) -> str:
    """Return the text of a message; a list's text parts are joined by line breaks."""
    if isinstance(content, list):
        parts: list[str] = []
        for part in content:
            if isinstance(part, Mapping):
                kind = part.get("type", "text")
                if kind not in {"text", "input_text", "output_text"}:
                    raise BadRow("row_media", f"{where} holds {kind!r}, and only text can be used")
                part = _first_value(part, ("text", "value", "content"))
            if isinstance(part, str):
                parts.append(part)
        content = "\n".join(parts)
    if not isinstance(content, str) or not content.strip():
        raise BadRow("row_empty", f"{where} has no text content")
    check_text(content, where)
    return content


def check_text(text: str, where: str) -> None:
    """Raise BadRow for a text that cannot be stored or speaks of a picture that is not there."""
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise BadRow("row_broken", f"{where} holds bytes that are not UTF-8") from fault
    if _MEDIA.search(text):
        raise BadRow("row_media", f"{where} speaks of a picture or a sound that is not here")


def pair_turns(turns: Sequence[Turn], notes: Counter[str], system: str | None = None) -> ParsedRow:
    """Return the exchanges of the turns.

    Turns of one side in a row are joined. Raise BadRow for a system message that is not the
    first, a conversation that the assistant begins, and one without an answer.
    """
    exchanges: list[tuple[str | None, str]] = []
    asked: list[Turn] = []
    at = 1
    for side, group in groupby(turns, key=lambda turn: turn.side):
        run = list(group)
        if side == "system":
            if at > 1 or system or len(run) > 1:
                late = at if at > 1 or system else at + 1
                raise BadRow("row_system", f"message {late} is a system message, not the first")
            system = run[0].text
        elif side == "asked":
            asked = run
        elif not asked:
            raise BadRow("row_order", f"message {at}: the assistant begins, unasked")
        else:
            notes["joined_turns"] += len(asked) + len(run) - 2
            if all(turn.learn for turn in run):
                exchanges.append((_join(asked), _join(run)))
            else:
                notes["untrained"] += 1
            asked = []
        at += len(run)
    if not exchanges:
        raise BadRow("row_no_answer", "it has no assistant turn to learn")
    notes["unanswered"] += bool(asked)
    return ParsedRow(exchanges, system, +notes)


def _join(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn.text for turn in turns)


def parse_messages(value: object, system: str | None = None) -> ParsedRow:
    """Return the exchanges of a list of messages, of pairs, or of texts that take turns."""
    if not isinstance(value, list):
        raise BadRow("row_shape", f"its turns are no list but {type(value).__name__}")
    notes: Counter[str] = Counter()
    turns: list[Turn] = []
    for at, message in enumerate(value):
        if isinstance(message, str):
            text = _without_token_spaces(text_of(message, f"turn {at + 1}"))
            turns.append(Turn("answered" if at % 2 else "asked", text))
        elif isinstance(message, Mapping) and "human" in message and "assistant" in message:
            where = f"exchange {at + 1}"
            turns.append(Turn("asked", text_of(message["human"], where)))
            turns.append(Turn("answered", text_of(message["assistant"], where)))
        else:
            turns.append(turn_of(message, at, notes))
    return pair_turns(turns, notes, system)


def _without_token_spaces(text: str) -> str:
    """Return a Chinese text without the spaces that a tokenizer set between its characters."""
    parts = text.split(" ")
    n_single = sum(len(part) == 1 for part in parts)
    if len(parts) > 2 and n_single >= 0.8 * len(parts) and re.search(f"[{_HAN}]", text):
        return _SPACED.sub("", text)
    return text


def best_path(root: Node) -> ParsedRow:
    """Return the conversation that takes the best reply at each message of an OASST tree.

    Deleted replies are passed over; unranked ones come after all ranked ones (0 is best).
    """
    turns: list[Turn] = []
    for at, node in enumerate(_path(root), start=1):
        text = node.get("text")
        if not isinstance(text, str) or not text.strip():
            raise BadRow("row_empty", f"message {at} has no text content")
        check_text(text, f"message {at}")
        role = node.get("role")
        if role not in {"prompter", "assistant"}:
            raise BadRow("row_role", f"message {at} has the unknown role {role!r}")
        turns.append(Turn(_SIDES[role], text))
    return pair_turns(turns, Counter())


def _path(root: Node) -> Iterator[Node]:
    node: Node | None = root
    while node is not None:
        yield node
        replies = [reply for reply in node.get("replies") or () if not reply.get("deleted")]
        node = min(replies, key=_rank, default=None)


def _rank(reply: Node) -> tuple[bool, float]:
    rank = reply.get("rank")
    return rank is None, float(rank or 0)


def build_trees(rows: Iterable[tuple[int, object]]) -> Iterator[tuple[int, object]]:
    """Yield each root of a file of single messages with its replies under it.

    A message whose parent is missing, and one that is on no best path, is a fault of its row.
    """
    nodes: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for number, row in rows:
        if not isinstance(row, Mapping) or not row.get("message_id"):
            fault = row if isinstance(row, BadRow) else BadRow("row_shape", "it has no message_id")
            yield number, fault
            continue
        name = str(row["message_id"])
        nodes[name] = {**row, "replies": list(row.get("replies") or ())}
        numbers[name] = number
    roots: list[str] = []
    orphans: set[str] = set()
    for name, node in nodes.items():
        parent = node.get("parent_id")
        if not parent:
            roots.append(name)
        elif str(parent) in nodes:
            nodes[str(parent)]["replies"].append(node)
        else:
            orphans.add(name)
    used = {str(node["message_id"]) for name in roots for node in _path(nodes[name])}
    for name in nodes.keys() - used:
        if name in orphans:
            yield numbers[name], BadRow("row_order", "its parent is nowhere")
        else:
            yield numbers[name], BadRow("row_passed_over", "another reply was ranked above it")
    for name in roots:
        yield numbers[name], nodes[name]
