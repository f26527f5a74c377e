"""Read JSON with faults whose meaning is plain: commas too many, values in a row, Python's repr."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from memoirist.data.schema.errors import SourceUnreadable

_STRING = r"\"(?:[^\"\\]|\\.)*\""
_COMMA = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)
# NumPy prints no commas between the elements of a list.
_ANY_STRING = rf"{_STRING}|'(?:[^'\\]|\\.)*'"
_NO_COMMA = re.compile(rf"({_ANY_STRING})|\}}(?=\s+\{{)", re.DOTALL)
_ARRAY = re.compile(rf"({_ANY_STRING})|\barray\((?=\[)|,\s*dtype=\w+\)", re.DOTALL)
_BETWEEN = re.compile(r"[\s,]*")
_MAX_LITERAL_CHARS = 4 << 20
_PLACE = re.compile(r": line \d+ column \d+ \(char \d+\)$")
MEND = "correct it there, or write one JSON object per line"


class BadRow(ValueError):
    """A row that cannot be used: `rule` names the verdict, the text says what is wrong with it."""

    def __init__(self, rule: str, reason: str) -> None:
        self.rule = rule
        super().__init__(reason)


def value_of(text: str) -> object:
    """Return the value of a JSON text, also with commas too many, or of Python's repr of one.

    Raise the ValueError of strict JSON, or RecursionError, where neither can be read.
    """
    try:
        return json.loads(text)
    except ValueError as fault:
        for reading in (_without_commas, _literal):
            try:
                return reading(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
        raise fault from None


def _without_commas(text: str) -> object:
    """Return the value of a text in which commas stand before a closing bracket, or at the end."""
    return json.loads(_blanked(text.rstrip().removesuffix(",")))


def _blanked(text: str) -> str:
    """Return a text with a space for each comma before a closing bracket; no place moves."""
    return _COMMA.sub(lambda match: match[1] or " ", text)


def _literal(text: str) -> object:
    stripped = text.strip().removesuffix(",")
    if not stripped.startswith(("{", "[", "(", "array([")) or len(text) > _MAX_LITERAL_CHARS:
        raise ValueError("not a literal")
    plain = _ARRAY.sub(lambda match: match[1] or "", stripped)
    plain = _NO_COMMA.sub(lambda match: match[1] or "},", plain)
    value: object = json.loads(json.dumps(ast.literal_eval(plain)))
    return value


def rows_of(text: str, where: str) -> Iterator[object]:
    """Yield the rows of a JSON text that is not one value: a list with faults, or values in a row.

    A value that is broken is a BadRow; the next one is found by the indentation of its line. Raise
    SourceUnreadable, with line and column, where that does not help.
    """
    text = _blanked(text.lstrip("\ufeff"))
    decoder = json.JSONDecoder()
    at = _next(text, 0)
    if text.startswith("[", at):
        at = _next(text, at + 1)
    while at < len(text):
        if text[at] == "]":  # the end of a list; another one may follow
            at = _next(text, at + 1)
            at = _next(text, at + 1) if text.startswith("[", at) else at
            continue
        try:
            value, at = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError) as fault:
            indent = _indent(text, at)
            reason = f"it is not JSON ({reason_of(fault)}: {_place(text, fault, at)})"
            if indent is None:
                raise SourceUnreadable(
                    f"no row of {where!r} can be used: {reason}", MEND
                ) from fault
            yield BadRow("row_broken", reason)
            following = re.compile(rf"\n{re.escape(indent)}[{{\[]").search(text, at)
            at = len(text) if following is None else following.end() - 1
        at = _next(text, at)


def reason_of(fault: Exception) -> str:
    """Return what is wrong with a JSON text, without the place."""
    if isinstance(fault, RecursionError):
        return "it is nested too deeply"
    return _PLACE.sub("", str(fault))[:80]


def _place(text: str, fault: Exception, start: int) -> str:
    at = fault.pos if isinstance(fault, json.JSONDecodeError) else start
    line = text.count("\n", 0, at) + 1
    return f"line {line} column {at - text.rfind(chr(10), 0, at)}"


def _indent(text: str, at: int) -> str | None:
    """Return the white space before a value that begins its line, None for others."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return None if before.strip() else before


def _next(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def is_lines(head: bytes) -> bool:
    """Tell whether a file's beginning is JSON lines: its first line does not need the next one."""
    lines = [line.strip() for line in head.split(b"\n") if line.strip()]
    try:
        text = lines[0].decode("utf-8-sig") if lines else ""
        json.loads(text)
    except json.JSONDecodeError as fault:
        if text.startswith("[") and len(lines) == 1:
            return False
        # "Extra data" is what stands behind a whole value: another one, or a comma.
        return fault.pos < len(text) and not text.startswith("{", fault.pos)
    except (ValueError, RecursionError):
        pass
    return True
