"""PDFs whose fonts are not embedded, and a machine without fonts to read them on."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from tests.conftest import ROOT, environment


def draw_by_character(
    path: Path, fonts: Sequence[tuple[str, str]], latin: str = "", *, whole: bool = False
) -> Path:
    """Draw lines of (font, text) with a font that the file only names, each character by itself.

    `latin` stands before each line in Times, with a space of its own; with `whole` a line is one
    piece.
    """
    canvas = Canvas(str(path), pagesize=(500, 700))
    for n, (font, text) in enumerate(fonts):
        y, x = 640 - 22 * n, 40
        if latin:
            canvas.setFont("Times-Roman", 12)
            canvas.drawString(x, y, f"{latin} {n}")
            canvas.drawString(150, y, " ")
            x = 160
        if font not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(UnicodeCIDFont(font))
        canvas.setFont(font, 12)
        for k, char in enumerate((text,) if whole else text):
            canvas.drawString(x + 12 * k, y, char)
    canvas.save()
    return path


def extracted(path: Path, engine: str) -> dict[str, Any]:
    """Extract a PDF where PDFium finds no fonts; return texts, verdicts, or the error."""
    command = [sys.executable, "-m", "tests.support.fontless", str(path), engine]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _hide_fonts(empty: Path) -> None:
    """Start PDFium anew with an empty folder in place of the system's fonts."""
    from pypdfium2 import raw

    raw.FPDF_DestroyLibrary()
    folder = ctypes.create_string_buffer(str(empty).encode())
    folders = (ctypes.POINTER(ctypes.c_char) * 2)(
        ctypes.cast(folder, ctypes.POINTER(ctypes.c_char)), None
    )
    config = raw.FPDF_LIBRARY_CONFIG(version=2, m_pUserFontPaths=folders)
    raw.FPDF_InitLibraryWithConfig(config)
    _KEPT.extend((folder, folders, config))


# PDFium reads them as long as it runs.
_KEPT: list[object] = []


def main() -> None:
    """Print what `extract` gives of a PDF, in this process alone."""
    from datetime import UTC, datetime

    from memoirist.data.schema.errors import SourceError
    from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source

    path, engine = Path(sys.argv[1]), sys.argv[2]
    empty = path.with_name("no-fonts")
    empty.mkdir(exist_ok=True)
    _hide_fonts(empty)
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    try:
        source = read_source(SourceRef(path=path, format="pdf"), datetime(2026, 1, 1, tzinfo=UTC))
        rows = extract(source, settings)
    except SourceError as error:
        result: dict[str, Any] = {"error": str(error), "rule": error.rule}
    else:
        result = {
            "text": [block.text for block in rows.blocks],
            "verdicts": [[one.rule, one.reason, one.next_step] for one in rows.verdicts],
        }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
