"""Plain text: layouts, libraries' words, headings, notes, verse, encodings, languages."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.detection.format_registry import format_named, load
from memoirist.extractors.text.encoding import decode
from tests.support.text_books import PROSE, blocks_with, of_kind, read, told

LONG = " ".join([PROSE] * 3)


def _wrapped(text: str, indent: str = "", first: str | None = None) -> str:
    start = indent if first is None else first
    return textwrap.fill(text, 70, initial_indent=start, subsequent_indent=indent)


def _text(path: Path, text: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_wrapped_lines_become_paragraphs(tmp_path: Path, newline: str) -> None:
    body = f"{_wrapped(LONG)}\n\n{_wrapped('So. ' + LONG)}"
    text = f"CHAPTER I.\n\nTHE MILL--A YEAR OF RAIN.\n\n{body}\n"
    assert told(read(_text(tmp_path / "a.txt", text, newline=newline))) == [
        ("heading", "CHAPTER I. THE MILL--A YEAR OF RAIN.", "Chapter I. The Mill--A Year of Rain"),
        ("paragraph", LONG, "Chapter I. The Mill--A Year of Rain"),
        ("paragraph", f"So. {LONG}", "Chapter I. The Mill--A Year of Rain"),
    ]


def test_indented_paragraphs_without_blank_lines(tmp_path: Path) -> None:
    texts = [f"Number {n} of them. {LONG}" for n in range(12)]
    text = "\n".join(_wrapped(each, first="    ") for each in texts)
    assert of_kind(read(_text(tmp_path / "a.txt", text)), "paragraph") == texts


def test_one_paragraph_per_line(tmp_path: Path) -> None:
    texts = [f"Number {n} of them. {LONG}" for n in range(4)]
    for gap in ("\n", "\n\n"):
        rows = read(_text(tmp_path / f"{len(gap)}.txt", gap.join(texts)))
        assert of_kind(rows, "paragraph") == texts


def test_a_blank_line_below_every_line(tmp_path: Path) -> None:
    texts = [f"Number {n} of them. {LONG}" for n in range(6)]
    text = "\n\n\n".join(_wrapped(each).replace("\n", "\n\n") for each in texts)
    assert of_kind(read(_text(tmp_path / "a.txt", text)), "paragraph") == texts


def test_chinese_lines_and_indents(tmp_path: Path) -> None:
    first = "那年夏天河水漲得很高，父親站在水閘旁邊數著還沒有濕的石頭。" * 3
    second = "我們在閣樓的窗口望著他，誰也沒有睡。母親說：「天亮就好了。」"
    lines = [f"　　{first}"[at : at + 30] for at in range(0, len(first) + 2, 30)]
    lines += [f"　　{second}"[at : at + 30] for at in range(0, len(second) + 2, 30)]
    for gap in ("\n", "\n\n"):
        body = gap.join(lines * 3)
        rows = read(_text(tmp_path / f"{len(gap)}.txt", f"第一回　水閘\n\n\n{body}\n", "gb18030"))
        assert of_kind(rows, "heading") == ["第一回 水閘"]
        assert of_kind(rows, "paragraph") == [first, second] * 3


OLD = """*The Project Gutenberg Etext of The Weir*
Please take a look at the important information in this header.

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here?  You know: lawyers.

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*





{body}



End of The Project Gutenberg Etext of The Weir
"""
NEW = """The Project Gutenberg EBook of The Weir, by Ada Marrow

This eBook is for the use of anyone anywhere at no cost.

Title: The Weir
       A Memoir

Author: Ada Marrow

*** START OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***

Produced by Bo Lind and the Online
Distributed Proofreading Team

THE WEIR

By Ada Marrow



{body}



End of the Project Gutenberg EBook of The Weir, by Ada Marrow

*** END OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***

Redistribution is subject to the trademark license. You may use this eBook for nearly any purpose.
"""


@pytest.mark.parametrize("edition", [OLD, NEW])
def test_gutenberg_headers_and_licence_are_boilerplate(tmp_path: Path, edition: str) -> None:
    body = f"CHAPTER I.\n\n{_wrapped(LONG)}\n\n\n\nCHAPTER II.\n\n{_wrapped('So. ' + LONG)}"
    rows = read(_text(tmp_path / "a.txt", edition.format(body=body)))
    assert of_kind(rows, "paragraph", "quote") == [LONG, f"So. {LONG}"]
    assert of_kind(rows, "heading") == ["CHAPTER I.", "CHAPTER II."]
    assert {b.kind for b in blocks_with(rows, "Gutenberg")} == {"boilerplate"}


def test_names_come_from_the_header(tmp_path: Path) -> None:
    reference = format_named("text").names
    assert reference
    stated = _text(tmp_path / "a.txt", NEW.format(body=LONG), newline="\r\n")
    assert load(reference)(stated) == ("The Weir", "Ada Marrow")
    silent = _text(tmp_path / "b.txt", f"Title: none\n\n{LONG}")
    assert load(reference)(silent) == (None, None)


@pytest.mark.parametrize(
    ("mark", "note"),
    [
        ("[1]", "[Footnote 1: A lamp of tin.]"),
        ("[1]", "     [1] A lamp\n         of tin."),
        ("*", "     * A lamp of tin."),
        ("(*1)", "FOOTNOTES\n\n     (*1) A lamp of tin."),
    ],
)
def test_notes_of_many_shapes(tmp_path: Path, mark: str, note: str) -> None:
    body = (
        f"CHAPTER I.\n\n{_wrapped(f'The lamp was out.{mark} {LONG}')}\n\n{_wrapped(LONG)}\n\n{note}"
    )
    rows = read(_text(tmp_path / "a.txt", f"{body}\n"))
    assert of_kind(rows, "footnote") == ["A lamp of tin."]
    assert of_kind(rows, "paragraph") == [f"The lamp was out. {LONG}", LONG]


def test_verse_quotes_pictures_and_an_editors_brackets(tmp_path: Path) -> None:
    verse = "     The mill is still,\n       The weir is dry,\n     My father stands and counts."
    letter = _wrapped(f"Dear Ada. {LONG}", indent="     ")
    aside = f"[He told this to me in another year. {PROSE}--B.L.]"
    body = "\n\n".join(
        [_wrapped(LONG), verse, letter, "[Illustration: THE MILL]", _wrapped(aside), _wrapped(LONG)]
    )
    rows = read(_text(tmp_path / "a.txt", f"CHAPTER I\n\n{body}\n"))
    assert of_kind(rows, "quote") == [
        "The mill is still,\nThe weir is dry,\nMy father stands and counts.",
        f"Dear Ada. {LONG}",
    ]
    assert of_kind(rows, "caption") == ["THE MILL"]
    assert of_kind(rows, "paragraph") == [LONG, aside, LONG]


def test_marks_of_type_go_and_are_told(tmp_path: Path) -> None:
    text = (
        "The mill-\nwheel and the flood--\nthe _whole_ of the flood--stood. A =bold= man"
        " saw the mill-wheel of\nanother, __init__ and snake_case_name. " + LONG
    )
    rows = read(_text(tmp_path / "a.txt", f"{text}\n\n{_wrapped(LONG)}\n"))
    assert of_kind(rows, "paragraph")[0].startswith(
        "The mill-wheel and the flood--the whole of the flood--stood. A bold man saw the mill-wheel"
        " of another, __init__ and snake_case_name."
    )
    (repaired,) = (verdict for verdict in rows.verdicts if verdict.rule == "repaired")
    assert repaired.keep
    assert "1 pairs of _ for italics" in repaired.reason


def test_contents_and_index_are_no_prose(tmp_path: Path) -> None:
    entries = "\n\n".join(f"{n}. THE MILL OF YEAR {n}      {n * 7}" for n in ("I", "II", "III"))
    chapters = "\n\n\n\n".join(
        f"CHAPTER {n}\n\nTHE MILL OF YEAR {n}\n\n{_wrapped(f'{n} it was. {LONG}')}"
        for n in ("I", "II", "III")
    )
    index = "INDEX\n\nLamp, of tin, 3, 17;\n  put out, 4.\n\nMill, 1, 9.\n"
    text = f"THE WEIR\n\n\n\nCONTENTS\n\n{entries}\n\n\n\n{chapters}\n\n\n\n{index}"
    rows = read(_text(tmp_path / "a.txt", text))
    assert len(of_kind(rows, "paragraph", "quote")) == 3
    assert len(of_kind(rows, "heading")) == 3
    assert {b.kind for b in blocks_with(rows, "Lamp")} == {"boilerplate"}
    assert [b.chapter for b in rows.blocks if b.kind == "paragraph"][2] == (
        "Chapter III. The Mill of Year III"
    )


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Erstes Kapitel", "„Wo bist du gewesen?“, fragte die Mutter. – Ich schwieg und ging."),
        ("Kapitel 3", "Die Mühle stand am Fluß; »niemand«, sagte er, »kommt mehr hierher«."),
        ("CHAPITRE PREMIER", "« Où étais-tu ? » demanda-t-elle. — Nulle part, répondis-je."),
        ("Capítulo II", "—¿Dónde estabas, niño? —preguntó mi madre, y no contesté nada."),
    ],
)
def test_other_languages_keep_their_paragraphs(tmp_path: Path, heading: str, words: str) -> None:
    texts = [f"{words} {words} {words}", f"{words} {words}"]
    body = "\n\n".join(map(_wrapped, texts))
    rows = read(_text(tmp_path / "a.txt", f"{heading}\n\n{body}\n", "cp1252"))
    assert of_kind(rows, "heading") == [heading]
    assert of_kind(rows, "paragraph") == texts
    assert not [verdict for verdict in rows.verdicts if verdict.rule == "encoding"]


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        ("Le café du père à Nîmes, « déjà » fermé l’été.", "utf-8-sig cp1252 utf-16 mac_roman"),
        ("Die Straße ist für mich größer, „schön“.", "cp1252 utf-16-le utf-16-be mac_roman"),
        ("那年夏天河水很高，我們在窗口望著他，誰也沒有睡。", "utf-8 gb18030 big5 utf-16-le"),
        ("その年の夏、父は水門のそばに立っていた。", "cp932 euc_jp iso2022_jp"),
        ("Отец стоял у плотины и считал камни.", "cp1251 koi8_r utf-16"),
        ("Ojciec stał przy śluzie i liczył kamienie, żółte i białe.", "cp1250 iso8859_2"),
    ],
)
def test_encodings_are_told_apart(text: str, encodings: str) -> None:
    for encoding in encodings.split():
        lines = f"{text}\n{text} 1850.\n"
        assert decode(lines.encode(encoding)).text == lines, encoding


def test_a_doubtful_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"{LONG} \x8d\x8f\x81".encode("latin-1") + b"\n")
    (verdict,) = (each for each in read(path).verdicts if each.rule == "encoding")
    assert verdict.keep
    assert verdict.reason.startswith("decoded as ")
    assert verdict.next_step
    assert "iconv" in verdict.next_step


def test_twice_encoded_utf8_is_undone_and_told() -> None:
    scrambled = "Le café d’été, l’élève à Nîmes".encode().decode("cp1252").encode()
    found = decode(scrambled)
    assert found.text == "Le café d’été, l’élève à Nîmes"
    assert found.doubt


@pytest.mark.timeout(20)
def test_endless_lines_and_words_cost_little(tmp_path: Path) -> None:
    text = f"{'I' * 300_000}\n\n" + "a\n" * 100_000 + f"\n{LONG}\n"
    rows = read(_text(tmp_path / "a.txt", text))
    assert LONG in of_kind(rows, "paragraph")[-1]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(SourceUnreadable, match="are not text"):
        read(path)


@pytest.mark.parametrize("content", [b" \n\n", b"1 2 3\n\n* * *\n"])
def test_a_text_without_prose_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(SourceUnreadable, match="contains no prose"):
        read(path)


@pytest.mark.medium
def test_the_real_books_read_alike_in_every_encoding(corpora: Path) -> None:
    books = corpora / "books"
    pairs = [
        (corpora / "derived/txt/nahan-gb18030.txt", corpora / "books-zh/nahan/27166-0.txt"),
        (corpora / "derived/txt/darwin-utf16le-bom.txt", books / "darwin/2010.txt"),
    ]
    for one, other in pairs:
        assert told(read(one)) == told(read(other))
    rows = read(books / "franklin/148-8.txt")
    assert "Ætat 89" in " ".join(of_kind(rows, "quote"))
    assert len(of_kind(rows, "footnote")) == 17
