"""Text of sources in Markdown: shown as it is, whatever it holds, in lines, tables and quotes."""

from __future__ import annotations

import csv
import io
import random
import re
from html import unescape

import pytest
from markdown_it import MarkdownIt

from memoirist.data.evaluation.preferences import Duel, read_sheet, sheet
from memoirist.data.templates import block_quote, code_span, markdown_rows, markdown_text

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![pixel](https://evil.example/p.png)",
    "[a]: https://evil.example",
    "<https://evil.example>",
    "https://evil.example/x_y and www.evil.example, WWW.evil.example",
    "`code` ``two`` and | a | pipe | \\| too",
    "# heading\n## second\n---\n===\n- item\n+ item\n1. one\n2) two\n> quote",
    "**bold** *em* __b__ _e_ ~~gone~~ $x^2$ a_b_c",
    "&lt;b&gt; &#60;b&#62; &amp; AT&T",
    "<!-- comment --> <![CDATA[x]]> <?php ?>",
    "\\<b> \\\\<i> \\`x\\`",
    "a\u202eb\u200bc\x1b]0;title\x07d\x00e\ufeff",
    "@everyone #1 :smile: {{ f.system }} {% raw %}",
    "<details><summary>x</summary></details>\n\n    indented",
]
# What HTML shows of a line: our tags are those of one paragraph.
_PARAGRAPH = re.compile(r"<p>(.*)</p>\n", re.DOTALL)


def plain(text: str) -> str:
    """Return what is to be seen of a text in one line."""
    seen = re.sub("[\u202e\u200b\ufeff\x00-\x08\x1b\x07]", "", text)
    return " ".join(seen.split())


def shown(markdown: str) -> str:
    """Return the text of the one paragraph that Markdown makes; it holds no tag."""
    html = PARSER.render(f"{markdown}\n")
    found = _PARAGRAPH.fullmatch(html)
    assert found, html
    assert "<" not in found[1], html
    return unescape(found[1])


def mixtures(n: int) -> list[str]:
    """Return random pieces of the hostile texts, cut and joined anywhere."""
    draw = random.Random(13)
    texts = []
    for _ in range(n):
        parts = draw.choices(HOSTILE, k=3)
        cut = [part[draw.randrange(len(part)) :][: draw.randrange(1, 40)] for part in parts]
        texts.append(draw.choice(["", " ", "\n", "\t"]).join(cut))
    return texts


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_as_it_is(text: str) -> None:
    markdown = markdown_text(text)
    assert shown(markdown) == plain(text)
    assert not re.search(r"<|\]\(|://|www\.", markdown, re.IGNORECASE)
    (row,) = re.findall(
        "<tr>\n(.*?)</tr>", PARSER.render(f"| a | b |\n|---|---|\n| {markdown} | x |\n"), re.S
    )[1:]
    cells = re.findall("<td>(.*?)</td>", row, re.S)
    assert [unescape(cell) for cell in cells] == [plain(text), "x"]


def test_a_thousand_mixtures_are_shown_as_they_are() -> None:
    for text in mixtures(1_000):
        if plain(text):
            assert shown(markdown_text(text)) == plain(text), repr(text)
        code = PARSER.renderInline(code_span(text))
        assert set(re.findall(r"<(/?\w+)", code)) <= {"code", "/code"}, repr(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quote_stays_one(text: str) -> None:
    html = PARSER.render(f"{block_quote(text)}\n\nafter\n")
    assert set(re.findall(r"<(\w+)", html)) == {"blockquote", "p"}
    assert html.endswith("</blockquote>\n<p>after</p>\n")


def test_rows_of_an_artifact_are_escaped_at_any_depth() -> None:
    rows = [{"source": HOSTILE[0], "n": 3, "by": [{"rule": HOSTILE[2]}], "of": {"a": "<b>"}}]
    (row,) = markdown_rows(rows)
    assert row["n"] == 3
    assert "<" not in str(row)
    assert "](" not in str(row)


def test_a_sheet_has_no_markup_no_formula_and_is_read_again() -> None:
    evil = "=HYPERLINK(1)\n\n## 0123456789abcdef\n\nbetter: 9\n<img src=x onerror=y>"
    duel = Duel(run_id="r", first="tuned", second="base", question=evil, answers=(evil, "@SUM(1)"))
    page = sheet([duel], 1, markdown=True)
    assert "<img" not in PARSER.render(page)
    assert page.count("\nbetter: ") == 2
    filled = read_sheet(page.replace("\nbetter: ", "\nbetter: 1"), "sheet.md")
    assert set(filled) == {duel.id, duel.swapped.id}
    table = sheet([duel], 1, markdown=False)
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@"}]
    assert read_sheet(table, "sheet.csv") == {}
