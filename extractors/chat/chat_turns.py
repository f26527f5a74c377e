"""Extract chats: messages become turns of conversations, what is nobody's words is set aside.

A conversation is a document; it ends after `chat_gap_hours` of silence. What a messenger wrote,
what stands for a picture, and what was forwarded are blocks of their own with a verdict each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import (
    Block,
    Document,
    Fault,
    Rows,
    Source,
    Verdict,
    content_id,
)
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.chat.base import NO_YEAR, Chat, Cut, Message, told_apart, without_link
from memoirist.extractors.chat.chat_files import ChatFile, Export, open_export
from memoirist.extractors.chat.chat_names import Masked, masked_chats
from memoirist.extractors.chat.chat_order import conversations
from memoirist.extractors.detection.format_registry import Progress, format_named, load
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.encoding import decode
from memoirist.extractors.word_tables import table

# The rule of the verdict that tells how much was masked.
ANONYMISED = "anonymised"
_RULES, _CUTS = table("chat")["rules"], table("chat")["cuts"]


@dataclass(slots=True)
class _Turn:
    """Messages of one sender that are one turn, or one message that is set aside."""

    first: Message
    texts: list[str]
    last_time: datetime | None
    cuts: Counter[Cut] = field(default_factory=Counter)

    def add(self, message: Message) -> None:
        """Take in the sender's next message."""
        self.texts.append(message.text)
        self.last_time = message.time or self.last_time
        self.cuts.update(message.cuts or {})


@dataclass(slots=True)
class _Rows:
    """The rows of one source as they are made."""

    source: Source
    now: datetime
    documents: list[Document] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def flag(self, fault: Fault, subject: str, subject_id: str) -> None:
        """Note something that is kept."""
        self.verdicts.append(fault.verdict(subject, subject_id, self.now, keep=True))

    def drop(self, fault: Fault, subject_id: str) -> None:
        """Set a block aside."""
        self.verdicts.append(fault.verdict("blocks", subject_id, self.now))


def extract_chat(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the conversations of an export; raise SourceUnreadable where nobody wrote a word."""
    known = format_named(source.format)
    read: Callable[[ChatFile], list[Chat]] = load(known.reader or "")
    path = Path(source.location)
    export = open_export(path, [suffix for suffix in known.suffixes if suffix != ".zip"])
    chats, export = _chats(export, read)
    chats = told_apart(chats)
    masks = masked_chats(chats, settings.own_names) if settings.anonymise else None
    if masks:
        broken = [(masks.mask(name), masks.mask(reason)) for name, reason in export.broken]
        chats, export = masks.chats, replace(export, broken=broken)
    rows = _Rows(source, datetime.now(UTC))
    for chat in chats:
        _add_chat(rows, chat, settings)
    if not any(block.kind == "turn" for block in rows.blocks):
        raise _wordless(source, chats, export)
    _note_export(rows, export)
    if masks:
        _note_masks(rows, masks)
    return Rows(
        documents=rows.documents,
        blocks=rows.blocks,
        verdicts=rows.verdicts,
        told=_told(rows, chats),
        title=masks.mask(source.title or "") if masks else None,
    )


def _chats(export: Export, read: Callable[[ChatFile], list[Chat]]) -> tuple[list[Chat], Export]:
    """Return the chats of all files, and the export with what of an archive cannot be read."""
    if len(export.files) == 1:
        return read(export.files[0]), export
    chats: list[Chat] = []
    broken = list(export.broken)
    n_others = export.n_others
    for file in export.files:
        try:
            found = read(file)
        except SourceUnreadable as fault:
            broken.append((file.name, fault.what))
            continue
        for chat in found:
            bad = chat.bad
            if chat.thread:
                bad = [replace(fault, where=f"{file.name}: {fault.where}") for fault in bad]
            chats.append(replace(chat, key=f"{file.name}\x1f{chat.key}", bad=bad))
        n_others += not found
    return list(_joined(chats)), replace(export, n_others=n_others, broken=broken)


def _joined(chats: Sequence[Chat]) -> Iterator[Chat]:
    """Yield the chats, the parts of one thread as one chat, the earliest part first."""
    parts_of: dict[str, list[Chat]] = {}
    for n, chat in enumerate(chats):
        parts_of.setdefault(chat.thread or f"\x1f{n}", []).append(chat)
    for parts in parts_of.values():
        parts.sort(key=_beginning)
        yield replace(
            parts[0],
            key=parts[0].thread or parts[0].key,
            messages=[message for part in parts for message in part.messages],
            bad=[bad for part in parts for bad in part.bad],
            people=list(dict.fromkeys(name for part in parts for name in part.people)),
        )


def _beginning(chat: Chat) -> datetime:
    times = [message.time for message in chat.messages if message.time]
    return min(times, default=datetime.max.replace(tzinfo=UTC))


def _wordless(source: Source, chats: Sequence[Chat], export: Export) -> SourceUnreadable:
    """Return the error for an export without a turn: what it has instead, and what is broken."""
    counts = Counter(message.rule for chat in chats for message in chat.messages)
    found = [f"{n:,} {rule}" for rule, n in counts.most_common(4)] or ["no message"]
    faults = [f"{bad.where}: {bad.reason}" for chat in chats for bad in chat.bad]
    faults += [reason for _, reason in export.broken]
    return SourceUnreadable(
        f"the chat {source.location!r} contains no written message"
        f" (it has {'; '.join([', '.join(found), *faults[:1]])})",
        "export the chat again, with all its messages",
    )


def _told(rows: _Rows, chats: Sequence[Chat]) -> str:
    """Say in a few words who writes in how many chats."""
    n_turns = Counter(block.speaker for block in rows.blocks if block.kind == "turn")
    names = ", ".join(name or "(unnamed)" for name, _ in n_turns.most_common(4))
    more = f" and {len(n_turns) - 4} more" if len(n_turns) > 4 else ""
    n_chats = f"{len(chats):,} chats, " if len(chats) > 1 else ""
    return f"{n_chats}turns of {names}{more}"


def _add_chat(rows: _Rows, chat: Chat, settings: ExtractSettings) -> None:
    for bad in chat.bad:
        fault = Fault("bad_row", f"{bad.where}: {bad.reason}", "correct the entry, or leave it out")
        rows.drop(fault, content_id(rows.source.id, chat.key, bad.where))
    gap = None if chat.whole else timedelta(hours=settings.chat_gap_hours)
    titles: Counter[str] = Counter()
    for messages in conversations([without_link(message) for message in chat.messages], gap):
        start = next((message.time for message in messages if message.time), None)
        day = start.date() if start and start.year > NO_YEAR else None
        name = chat.name or rows.source.title or "Chat"
        title = f"{name}, {day}" if day and not chat.whole else name
        titles[title] += 1
        document = Document(
            # The start tells a conversation, so that a later export of the chat only adds some.
            id=content_id(rows.source.id, chat.key, start, titles[title]),
            source_id=rows.source.id,
            title=f"{title} ({titles[title]})" if titles[title] > 1 else title,
            published=day,
        )
        turns = list(_turns(messages, timedelta(minutes=settings.chat_join_minutes)))
        drafts = [_draft(turn, start) for turn in turns]
        pairs = [(turn, draft) for turn, draft in zip(turns, drafts, strict=True) if draft.text]
        blocks = blocks_of(document.id, [draft for _, draft in pairs])
        rows.documents.append(document)
        rows.blocks += blocks
        for (turn, _), block in zip(pairs, blocks, strict=True):
            _judge(rows, turn, block)


def _turns(messages: Sequence[Message], join: timedelta) -> Iterator[_Turn]:
    """Yield turns and set-aside messages in the order in which they begin."""
    turns: list[_Turn] = []
    turn: _Turn | None = None
    for message in messages:
        if message.rule is not None:
            turns.append(_Turn(message, [message.text], message.time))
            # What another sent in between may be what the next message answers.
            if turn and message.sender and message.sender != turn.first.sender:
                turn = None
            continue
        if turn and turn.first.sender == message.sender and _is_near(turn, message, join):
            turn.add(message)
            continue
        turn = _Turn(message, [message.text], message.time, Counter(message.cuts or {}))
        turns.append(turn)
    yield from turns


def _is_near(turn: _Turn, message: Message, join: timedelta) -> bool:
    if turn.last_time is None or message.time is None:
        return True
    return abs(message.time - turn.last_time) <= join


def _draft(turn: _Turn, start: datetime | None) -> Draft:
    def seconds(time: datetime | None) -> float | None:
        return None if time is None or start is None else max(0.0, (time - start).total_seconds())

    first, last = seconds(turn.first.time), seconds(turn.last_time)
    return Draft(
        kind="boilerplate" if turn.first.rule else "turn",
        text="\n".join(turn.texts).strip(),
        speaker=turn.first.sender,
        start_seconds=first,
        end_seconds=last if last is None or first is None else max(first, last),
    )


def _judge(rows: _Rows, turn: _Turn, block: Block) -> None:
    """Write the verdict on a message that is set aside, and on what is cut out of a turn."""
    rule = turn.first.rule
    if rule is not None:
        rows.drop(Fault(rule, _RULES[rule]["reason"], _RULES[rule]["next_step"]), block.id)
    for cut, n in turn.cuts.items():
        reason = f"removed from the turn: {n:,} {_CUTS[cut]['reason']}"
        step = "nothing: the sender's words are kept"
        rows.flag(Fault(cut, reason, step, float(n)), "blocks", block.id)


def _note_export(rows: _Rows, export: Export) -> None:
    """Note what lies beside the chats of an archive, and what of it is broken."""
    for name, reason in export.broken:
        fault = Fault("bad_file", f"{name!r}: {reason}", "get a complete copy of the export")
        rows.drop(fault, content_id(rows.source.id, name))
    first = rows.documents[0].id
    if export.n_others:
        reason = f"files of the export that are not read, such as pictures: {export.n_others:,}"
        rows.flag(
            Fault("files_not_read", reason, "nothing: they contain no text"), "documents", first
        )
    for file in export.files[:1]:
        # Each mail states its own encoding.
        if rows.source.format != "mail" and (doubt := decode(file.content).doubt):
            step = "check the accents, or save the file as UTF-8"
            rows.flag(Fault("encoding", f"its encoding: {doubt}", step), "documents", first)


def _note_masks(rows: _Rows, masks: Masked) -> None:
    reason = (
        f"names of people masked: {masks.n_names:,}; contacts masked: {_kinds(masks.n_contacts)}"
    )
    name = Path(rows.source.location).name
    if masks.names.mask(name) != name:
        reason += "; the file's name, which the store keeps, contains a name: rename the file"
    step = "sources.extract.anonymise = false in the recipe keeps the original words"
    rows.flag(Fault(ANONYMISED, reason, step), "documents", rows.documents[0].id)


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {n:,}" for kind, n in counts.items()) or "none"
