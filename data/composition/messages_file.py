"""Check a file of messages, one JSON object a line, and write it again without its faults.

Files of any size are read in bounded memory: line by line, with the hashes of the rows in a
temporary database on the disk. Beside the rules of a row (`message_rules`) these hold:

- encoding, byte_order_mark, blank_line, broken_json, not_object: a strict reader decodes each line
  as UTF-8 and parses it by itself, so that a mark, an empty line or NaN stops it (`check_file` in
  https://github.com/togethercomputer/together-python, src/together/utils/files.py; RFC 8259, 6 and
  8.1).
- repeated_key: of an object's two values one is lost, and readers differ in which (RFC 8259, 4).
- line_too_long, no_rows: ours; Together refuses an empty file too.
- duplicate: ours. A row that stands twice weighs double, and leaks where a service holds rows out.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from memoirist.data.composition import message_rules
from memoirist.data.composition.message_rules import check_row, mend_row
from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.text.wide_text import wide_encoding

REPAIRS = {
    **message_rules.REPAIRS,
    "encoding": "UTF-16 and UTF-32 are converted; any other line is left out",
    "byte_order_mark": "the mark is removed",
    "blank_line": "the line is removed",
    "broken_json": "the line is left out",
    "repeated_key": "the last value is kept",
    "not_object": "the line is left out",
    "line_too_long": "the line is left out",
    "no_rows": "nothing",
    "duplicate": "the first one is kept",
}
# OpenAI's limit of an example of its models gpt-4o and gpt-4.1.
MAX_TOKENS = 65_536
# OpenAI's limits of a file, https://platform.openai.com/docs/guides/supervised-fine-tuning and the
# Files part of its API reference. A small file is no faulty one, so both are only mentioned.
_MIN_ROWS = 10
_MAX_FILE_BYTES = 512 * 2**20
_MAX_LINE_BYTES = 64 * 2**20


@dataclass(slots=True, kw_only=True)
class Tally:
    """The rows with one fault: how many, the lines of the first ones, the reason of the first."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class FileReport:
    """What was found in a file: rows, those with faults, and what became of them in the output."""

    size: int = 0
    rows: int = 0
    faulty: int = 0
    written: int = 0
    mended: int = 0
    repeated: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Return the number of rows that no repair could save."""
        return self.rows - self.written - self.repeated

    @property
    def notes(self) -> list[str]:
        """Return what a service says of the file as a whole."""
        notes = []
        if 0 < self.rows < _MIN_ROWS:
            notes.append(f"OpenAI accepts only files of {_MIN_ROWS} rows or more")
        if self.size > _MAX_FILE_BYTES:
            notes.append("OpenAI accepts only files of up to 512 MB")
        return notes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """How long a conversation may be, and how many line numbers of each fault are kept."""

    max_tokens: int = MAX_TOKENS
    max_lines: int = 10


def check_messages(
    file: io.BufferedReader, settings: CheckSettings, output: BinaryIO | None = None
) -> FileReport:
    """Return the faults of a file; write the rows that have none, or none any more, to `output`."""
    report = FileReport()
    encoding = wide_encoding(file.peek(4))
    wide = {"encoding": f"the file is {encoding.upper()}, not UTF-8"} if encoding else {}
    with closing(_hashes()) as seen, closing(_hashes()) as written:
        for number, line in _lines(file, encoding):
            report.size += len(line or b"")
            row, faults = _parsed(line)
            faults |= wide
            key = 0
            if isinstance(row, dict):
                faults |= check_row(row, settings.max_tokens)
                key = _hash(row.get("messages"))
                if "no_messages" not in faults and (first := _first_line(seen, key, number)):
                    faults["duplicate"] = f"the same messages are on line {first}"
            for rule, reason in faults.items():
                _count(report, rule, reason, number, settings)
            if "blank_line" in faults:
                continue
            report.rows += 1
            report.faulty += bool(faults)
            mended = _mended(row, faults, settings)
            if mended is None:
                continue
            if _first_line(written, _hash(mended["messages"]) if faults else key, number):
                report.repeated += 1
                continue
            report.written += 1
            report.mended += bool(faults)
            if output is not None:
                text = json.dumps(mended, ensure_ascii=False).encode() if faults else line or b""
                output.write(text.strip() + b"\n")
    if not report.rows:
        _count(report, "no_rows", "the file has no rows", 1, settings)
    return report


def _mended(
    row: object, faults: Mapping[str, str], settings: CheckSettings
) -> Mapping[str, Any] | None:
    if not isinstance(row, dict):
        return None
    return mend_row(row, settings.max_tokens) if faults else row


def _count(report: FileReport, rule: str, reason: str, line: int, settings: CheckSettings) -> None:
    tally = report.tallies.setdefault(rule, Tally(reason=reason))
    tally.rows += 1
    if len(tally.lines) < settings.max_lines:
        tally.lines.append(line)


def _lines(file: io.BufferedReader, encoding: str | None) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines as UTF-8 with their numbers from 1, None for one that is too long."""
    if encoding is None:
        yield from _bounded(file)
        return
    text = io.TextIOWrapper(file, encoding=encoding, newline="\n")
    try:
        for number, line in enumerate(iter(partial(text.readline, _MAX_LINE_BYTES), ""), start=1):
            yield number, line.encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        raise SourceUnreadable(
            f"the file begins as {encoding.upper()} and ends in another encoding ({error})",
            "save it as UTF-8 in the program that wrote it",
        ) from error
    finally:
        text.detach()


def _bounded(file: io.BufferedReader) -> Iterator[tuple[int, bytes | None]]:
    number = 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) < _MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        yield number, None
        while line and not line.endswith(b"\n"):
            line = file.readline(_MAX_LINE_BYTES)


def _parsed(line: bytes | None) -> tuple[object, dict[str, str]]:
    """Return the value of a line and the faults of its form; None where it has no value."""
    if line is None:
        return None, {"line_too_long": f"the line has more than {_MAX_LINE_BYTES >> 20} MiB"}
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        return None, {"encoding": f"byte {error.start + 1} of the line (0x{byte:02X}) is not UTF-8"}
    faults: dict[str, str] = {}
    if text.startswith("\ufeff"):
        faults["byte_order_mark"] = "a byte order mark precedes the row"
        text = text[1:]
    if not text.strip():
        return None, {**faults, "blank_line": "the line is blank"}
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) < len(items):
            keys = [key for key, _ in items]
            repeated.append(next(key for key in value if keys.count(key) > 1))
        return value

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return None, {**faults, "broken_json": _json_reason(text, error)}
    if repeated:
        faults["repeated_key"] = f"an object has two values for {repeated[0]!r}"
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"{text.strip()[:40]!r}"
        faults["not_object"] = f"the line is {kind}, not an object with messages"
    return value, faults


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json_reason(text: str, error: Exception) -> str:
    if text.lstrip().startswith("[") or text.strip() == "{":
        return "the row spans several lines; write one object per line"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _hashes() -> sqlite3.Connection:
    """Return a nameless database, which SQLite holds in memory only while it is small."""
    database = sqlite3.connect("")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY, line INTEGER)")
    return database


def _hash(messages: object) -> int:
    text = json.dumps(messages, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def _first_line(database: sqlite3.Connection, key: int, line: int) -> int | None:
    """Return the line on which a hash stood before; remember a new one."""
    for (first,) in database.execute("SELECT line FROM seen WHERE hash = ?", [key]):
        return int(first)
    database.execute("INSERT INTO seen VALUES (?, ?)", [key, line])
    return None


def fault_rows(report: FileReport) -> list[tuple[str, int, list[int], str, str]]:
    """Return a row for each fault, the most frequent first: name, rows, lines, reason, repair."""
    order = sorted(report.tallies.items(), key=lambda item: (-item[1].rows, item[0]))
    return [(rule, t.rows, t.lines, t.reason, REPAIRS[rule]) for rule, t in order]
