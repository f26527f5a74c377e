"""Extract a plain text: any encoding, wrapped or not, with a library's words around it or not."""

from __future__ import annotations

import re
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Rows, Source
from memoirist.data.text.words import is_cjk
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.encoding import Decoded, decode
from memoirist.extractors.text.strips import units_of_lines
from memoirist.extractors.text.text_rows import document_verdict, rows_of
from memoirist.extractors.text.wrapping import lines_of

_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x7f\ufffd\ue000-\uf8ff]")
_MAX_BAD_SHARE = 0.05
_HEAD_BYTES = 20_000
_FIELD = re.compile(r"^(title|author):[ \t]*(.+(?:\n[ \t]+\S.*)*)", re.IGNORECASE | re.MULTILINE)


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as a library's header states them."""
    try:
        with path.open("rb") as file:
            head = decode(file.read(_HEAD_BYTES)).text
    except OSError:
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    if "gutenberg" not in head.lower():
        return None, None
    stated = {name.lower(): value for name, value in reversed(_FIELD.findall(lf(head)))}
    title, author = stated.get("title"), stated.get("author")
    return (
        title.splitlines()[0].strip() if title else None,
        " ".join(author.split()) if author else None,
    )


def lf(text: str) -> str:
    """Return the text with line feeds alone at its lines' ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def extract_text(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the paragraphs of a text; raise SourceUnreadable where it holds no prose.

    A doubt about the encoding and the repairs that were made are kept as verdicts.
    """
    read = decoded(source)
    units, repairs = units_of_lines(lines_of(read.text), cjk=is_cjk(read.text[:20_000]))
    verdicts = [document_verdict(source, "encoding", *doubt, keep=True) for doubt in doubts(read)]
    told = ", ".join(f"{n:,} {what}" for what, n in repairs.items() if n)
    if told:
        verdicts.append(
            document_verdict(
                source,
                "repaired",
                told,
                "nothing; the words themselves are as they were",
                keep=True,
            )
        )
    return rows_of(source, units, None, verdicts)


def decoded(source: Source) -> Decoded:
    """Return the source's text; raise SourceUnreadable where its bytes are no writing."""
    read = decode(Path(source.location).read_bytes())
    n_bad = len(_NO_TEXT.findall(read.text))
    if n_bad > _MAX_BAD_SHARE * max(1, len(read.text)):
        raise SourceUnreadable(
            f"{n_bad:,} of {len(read.text):,} characters of {source.location!r} are no writing,"
            f" taken for {read.encoding}",
            "point at a text; a word processor's own file must be saved as .docx or .txt first",
        )
    return read


def doubts(read: Decoded) -> list[tuple[str, str]]:
    """Return the reason and the next step for a text whose encoding is not certain."""
    if read.doubt is None:
        return []
    return [
        (
            f"taken for {read.encoding}: {read.doubt}",
            "if accents or characters are wrong: iconv -f ENCODING -t utf-8 in.txt > out.txt",
        )
    ]
