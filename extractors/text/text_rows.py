"""Turn the units of a text into rows: final kinds, chapters, one document with its blocks."""

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
from memoirist.extractors.text.front_back_matter import mark_front_back_matter
from memoirist.extractors.text.gutenberg import mark_library_text
from memoirist.extractors.text.text_footnotes import mark_footnotes, remove_page_marks
from memoirist.extractors.text.text_unit import Unit, has_letters, word_count

_PROSE = {"paragraph", "quote"}
_BETWEEN = {"footnote", "caption", "boilerplate", "contents"}
_OPEN_END = re.compile(r"[\w,;—–-]$")
_VERSE_SHARE = 0.5
# Control characters, replacement characters and private ones: no writing.
_NO_WRITING = re.compile(r"[\x00-\x08\x0e-\x1a\x7f\ufffd\ue000-\uf8ff]")
_MAX_BAD_SHARE = 0.05


def decode_source(source: Source) -> Decoded:
    """Return the source's text; raise SourceUnreadable where its bytes are no writing."""
    decoded = decode(Path(source.location).read_bytes())
    n_bad = len(_NO_WRITING.findall(decoded.text))
    if n_bad > _MAX_BAD_SHARE * max(1, len(decoded.text)):
        raise SourceUnreadable(
            f"{n_bad:,} of {len(decoded.text):,} characters of {source.location!r} are no writing,"
            f" taken for {decoded.encoding}",
            "point at a text; a word processor's own file must be saved as .docx or .txt first",
        )
    return decoded


def encoding_verdicts(source: Source, decoded: Decoded) -> list[Verdict]:
    """Return the verdict on a text whose encoding is not certain, none for another text."""
    if decoded.doubt is None:
        return []
    reason = f"taken for {decoded.encoding}: {decoded.doubt}"
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
        kinds = ", ".join(sorted({unit.kind for unit in units})) or "nothing"
        raise SourceUnreadable(
            f"the {source.format} {source.location!r} holds no words of prose: {kinds} alone",
            "point at a file with running text; pictures of pages need a text layer first",
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
    mark_footnotes(kept)
    remove_page_marks(kept)
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
