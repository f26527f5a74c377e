"""OASST message trees: the best path from the root, by the rank that people gave the replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from memoirist.extractors.dataset.chat_messages import Reading, Turn, check_text, conversation
from memoirist.extractors.dataset.row_chunks import BadRow

Node = Mapping[str, Any]


def best_path(root: Node, notes: Counter[str]) -> Reading:
    """Return the conversation that takes the best reply at each message.

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
        turns.append(Turn("asked" if role == "prompter" else "answered", text))
    return conversation(turns, notes)


def _rank(reply: Node) -> tuple[bool, float]:
    rank = reply.get("rank")
    return rank is None, float(rank or 0)


def planted(rows: Iterable[tuple[int, object]]) -> Iterator[tuple[int, object]]:
    """Yield each root of a file of single messages with its replies under it.

    A message whose parent is nowhere, and one that is on no best path, is a fault of its row.
    """
    nodes: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for number, row in rows:
        if not isinstance(row, Mapping) or not row.get("message_id"):
            fault = row if isinstance(row, BadRow) else BadRow("row_shape", "it has no message_id")
            yield number, fault
            continue
        nodes[str(row["message_id"])] = {**row, "replies": list(row.get("replies") or ())}
        numbers[str(row["message_id"])] = number
    roots: list[str] = []
    lost: set[str] = set()
    for name, node in nodes.items():
        parent = node.get("parent_id")
        if not parent:
            roots.append(name)
        elif str(parent) in nodes:
            nodes[str(parent)]["replies"].append(node)
        else:
            lost.add(name)
    used = {str(each["message_id"]) for name in roots for each in _path(nodes[name])}
    for name in nodes.keys() - used:
        why = "its parent is nowhere" if name in lost else "another reply was ranked above it"
        yield numbers[name], BadRow("row_order" if name in lost else "row_passed_over", why)
    for name in roots:
        yield numbers[name], nodes[name]


def _path(root: Node) -> Iterator[Node]:
    node: Node | None = root
    while node is not None:
        yield node
        replies = [each for each in node.get("replies") or () if not each.get("deleted")]
        node = min(replies, key=_rank) if replies else None
