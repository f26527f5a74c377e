"""Turn the units of a text into rows: footnotes, final kinds, chapters, one document's blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Document, Rows, Source, Verdict, content_id
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.text.chapter_headings import join_headings, name_chapters
from memoirist.extractors.text.encoding import Decoded, decode
from memoirist.extractors.text.front_back_matter import mark_front_back_matter, mark_library_text
from memoirist.extractors.text.text_unit import Unit, has_letters, word_count

_PROSE = {"paragraph", "quote"}
_BETWEEN = {"footnote", "caption", "boilerplate", "contents"}
_OPEN_END = re.compile(r"[\w,;—–-]$")
_VERSE_SHARE = 0.5
# Control characters, replacement characters and private ones: no writing.
_NO_WRITING = re.compile(r"[\x00-\x08\x0e-\x1a\x7f\ufffd\ue000-\uf8ff]")
_MAX_BAD_SHARE = 0.05

_TEXT = {"paragraph", "quote", "heading"}
_KANA = "ヾゝゞ々ぁあぃいぅうぇえぉおかがきぎくぐけげこごさざしじすずせぜそぞただちぢつづてでと"
_BRACKETED = re.compile(
    r"^\[\s*(?:foot|end)?note(?:\s+(?P<label>[\w*†‡]{1,4}))?\s*[:.]\s*(?P<text>.*?)\]?$",
    re.S | re.I,
)
_LABELLED = re.compile(
    r"^(?P<mark>[\[〔［](?P<a>\w{1,4}|[*†‡§¶]{1,3})[\]〕］]|\(\*?(?P<b>\d{1,3}|\*{1,3})\)"
    r"|\{(?P<c>\d{1,3})\}|<(?P<e>\d{1,3})>"
    rf"|(?P<d>\*{{1,4}}|[†‡§¶]{{1,3}})(?=[\s\"“(A-Z])|(?P<f>[¹²³⁰⁴-⁹]{{1,3}})|(?P<g>[①-⑳])"
    rf"|(?P<h>[{_KANA}])(?=[^\s]))\s*",
)
_ILLUSTRATION = re.compile(
    r"^\[\s*(?:illustration|frontispiece|plate|map|figure|image|portrait|abbildung|illustrazione"
    r"|ilustraci[oó]n)\b\s*[:.]?\s*(?P<text>.*?)\]?$",
    re.S | re.I,
)
_PAGE = re.compile(r"\s?(?:\[(?:pg|page|p\.)\s?(?P<page>\w{1,5})\]|\{(?P<other>\d{1,4})\})", re.I)
# A note stands within so many units of its mark, or in a section of notes.
_REACH = 12
_MAX_NOTE_UNITS, _MAX_CAPTION_UNITS = 40, 4


def decode_source(source: Source) -> Decoded:
    """Return the source's text; raise SourceUnreadable where its bytes are no writing."""
    decoded = decode(Path(source.location).read_bytes())
    n_bad = len(_NO_WRITING.findall(decoded.text))
    if n_bad > _MAX_BAD_SHARE * max(1, len(decoded.text)):
        raise SourceUnreadable(
            f"{n_bad:,} of {len(decoded.text):,} characters of {source.location!r}, decoded as"
            f" {decoded.encoding}, are not text",
            "give a text file; save the file of a word processor as .docx or .txt first",
        )
    return decoded


def encoding_verdicts(source: Source, decoded: Decoded) -> list[Verdict]:
    """Return the verdict on a text whose encoding is not certain, none for another text."""
    if decoded.doubt is None:
        return []
    reason = f"decoded as {decoded.encoding}: {decoded.doubt}"
    step = "if accents or characters are wrong: iconv -f ENCODING -t utf-8 in.txt > out.txt"
    return [document_verdict(source, "encoding", reason, step, keep=True)]


def document_verdict(
    source: Source, rule: str, reason: str, next_step: str, *, keep: bool = False
) -> Verdict:
    """Return a verdict on a part of the source's one document that has no row of its own."""
    return Verdict(
        subject_id=content_id(source.id, rule, reason),
        subject="documents",
        rule=rule,
        keep=keep,
        reason=reason,
        next_step=next_step,
        created_at=datetime.now(UTC),
    )


def rows_of(
    source: Source, units: Sequence[Unit], lang: str | None, verdicts: Sequence[Verdict] = ()
) -> Rows:
    """Return the one document of a text; raise SourceUnreadable where it holds no prose."""
    title = source.title or source.location
    document = Document(
        id=content_id(source.id, title), source_id=source.id, title=title, lang=lang
    )
    units = _classify(units)
    if not any(unit.kind in _PROSE for unit in units):
        kinds = ", ".join(sorted({unit.kind for unit in units})) or "blank lines"
        raise SourceUnreadable(
            f"the {source.format} {source.location!r} contains no prose, only {kinds}",
            "give a file with running text; pictures of pages need a text layer first",
        )
    drafts = [
        Draft(kind=unit.kind, text=unit.text, page_label=unit.page, chapter=unit.chapter)
        for unit in units
    ]
    return Rows(
        documents=(document,), blocks=blocks_of(document.id, drafts), verdicts=tuple(verdicts)
    )


def _classify(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with their final kinds, chapters and texts, those without letters gone."""
    kept = [unit for unit in units if has_letters(unit.text)]
    mark_library_text(kept)
    kept = join_headings(kept)
    mark_front_back_matter(kept)
    _mark_footnotes(kept)
    _remove_page_marks(kept)
    kept = _join_interrupted([unit for unit in kept if unit.text])
    _mark_verse_book(kept)
    name_chapters(kept)
    return kept


def _join_interrupted(units: Sequence[Unit]) -> list[Unit]:
    """Join a paragraph that a note or a picture interrupts in the middle of a sentence."""
    result: list[Unit] = []
    for unit in units:
        if unit.kind == "paragraph" and not unit.verse and unit.text[0].islower():
            at = len(result) - 1
            while at >= 0 and result[at].kind in _BETWEEN:
                at -= 1
            before = result[at] if 0 <= at < len(result) - 1 else None
            if before and _is_open(before):
                before.text = f"{before.text} {unit.text}"
                continue
        result.append(unit)
    return result


def _is_open(unit: Unit) -> bool:
    return unit.kind == "paragraph" and not unit.verse and bool(_OPEN_END.search(unit.text))


def _mark_verse_book(units: Sequence[Unit]) -> None:
    """Make verse paragraphs where it is most of the book: then it is the text, not a quote."""
    prose = [unit for unit in units if unit.kind in _PROSE]
    verse = [unit for unit in prose if unit.kind == "quote" and unit.verse]
    n_words = sum(word_count(unit.text) for unit in prose)
    if sum(word_count(unit.text) for unit in verse) > _VERSE_SHARE * n_words:
        for unit in verse:
            unit.kind = "paragraph"


def _mark_footnotes(units: Sequence[Unit]) -> None:
    """Mark note units as footnotes and take their marks out of the text.

    A paragraph that begins with a mark is a note where a text before it bears the same mark, or
    where it stands in a section of notes; a mark is removed where its note is found.
    """
    for at in range(len(units)):
        _mark_bracketed(units, at)
    in_section = _in_notes_section(units)
    for at, unit in enumerate(units):
        is_note = unit.kind == "footnote"
        if unit.kind not in {"paragraph", "quote", "footnote"}:
            continue
        if is_note and unit.fixed and unit.label is None:
            continue
        label = unit.label if is_note and unit.label else _label(unit)
        if label is None:
            continue
        owner = _owner(units, at, label, anywhere=in_section[at] or is_note)
        if owner is None and not in_section[at]:
            continue
        if not is_note or unit.label is None:
            unit.text = _LABELLED.sub("", unit.text, count=1) or unit.text
        unit.kind, unit.label = "footnote", label
        unit.text = unit.text.replace("\n", " ")
        if owner is not None:
            owner.text = _mark_pattern(label).sub("", owner.text, count=1)


def _mark_bracketed(units: Sequence[Unit], at: int) -> None:
    """Mark "[Footnote 1: ...]" and "[Illustration: ...]", also over several units."""
    unit = units[at]
    if unit.kind not in {"paragraph", "quote"} or not unit.text.startswith("["):
        return
    n_open = unit.text.count("[") - unit.text.count("]")
    match = _BRACKETED.match(unit.text) or _ILLUSTRATION.match(unit.text)
    if match is None:
        return
    unit.kind = "footnote" if match.re is _BRACKETED else "caption"
    unit.label = match["label"] if unit.kind == "footnote" else None
    # The last bracket belongs to the note where the text has as many "[" as "]".
    text = match["text"] if n_open == 0 else unit.text[match.start("text") :]
    unit.text = text.strip() or "[]"
    if n_open > 0:
        _mark_to_bracket(units, at, n_open)


def _mark_to_bracket(units: Sequence[Unit], at: int, n_open: int) -> None:
    """Give the units up to the closing bracket the kind of the one that opens it, if it closes."""
    limit = _MAX_NOTE_UNITS if units[at].kind == "footnote" else _MAX_CAPTION_UNITS
    for last in range(at + 1, min(at + limit, len(units))):
        if units[last].kind not in _TEXT:
            return
        n_open += units[last].text.count("[") - units[last].text.count("]")
        if n_open <= 0:
            for unit in units[at + 1 : last + 1]:
                unit.kind, unit.level, unit.fixed = units[at].kind, 0, True
            return


def _label(unit: Unit) -> str | None:
    match = _LABELLED.match(unit.text)
    if match is None or match.end() >= len(unit.text):
        return None
    return next(group for group in match.groups()[1:] if group)


def _in_notes_section(units: Sequence[Unit]) -> list[bool]:
    """Tell for each unit whether it stands below a heading such as "Footnotes"."""
    inside, result = False, []
    for unit in units:
        if unit.kind == "heading":
            inside = False
        elif unit.kind == "footnote" and not unit.fixed and unit.label is None:
            inside = True
        result.append(inside)
    return result


def _owner(units: Sequence[Unit], at: int, label: str, *, anywhere: bool) -> Unit | None:
    """Return the nearest text before `at` that bears the mark; any distance where `anywhere`."""
    mark = _mark_pattern(label)
    first = 0 if anywhere else max(0, at - _REACH)
    for unit in reversed(units[first:at]):
        if unit.kind in _TEXT and mark.search(unit.text):
            return unit
        if not anywhere and unit.kind == "heading" and unit.level in {1, 2}:
            return None
    return None


def _mark_pattern(label: str) -> re.Pattern[str]:
    """Return the pattern of a label where it is a mark: in brackets, or raised behind a word."""
    quoted = re.escape(label)
    if label.isascii() and label.isalnum():
        return re.compile(
            rf"[ ]?(?:[\[〔［]{quoted}[\]〕］]|\(\*{quoted}\)|\{{{quoted}\}}|<{quoted}>)"
        )
    if set(label) <= set("*†‡§¶"):
        return re.compile(
            rf"[ ]?(?:\[{quoted}\]|\({quoted}\))|(?<=[\w.,;:!?\"”’')\]]){quoted}(?![*\w])"
        )
    return re.compile(rf"(?<=\S) ?{quoted}")


def _remove_page_marks(units: Sequence[Unit]) -> None:
    """Take marks such as "[Pg 12]" out of the text and number the units from there on."""
    page: str | None = None
    for unit in units:
        unit.page = unit.page or page
        for match in _PAGE.finditer(unit.text) if "[" in unit.text or "{" in unit.text else ():
            page = match["page"] or match["other"]
            if match.start() < 2:
                unit.page = page
        if page is not None:
            unit.text = _PAGE.sub("", unit.text).strip()
