"""Small PDFs written by hand, for what no typesetting library would write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def raw_pdf(path: Path, pages: Sequence[tuple[bytes, bytes]]) -> Path:
    """Write a PDF by hand: for each page its font dictionary and its content stream.

    A stream that is compressed begins with its dictionary's `/Filter` entry, ended by a newline.
    """
    kids = b" ".join(b"%d 0 R" % (3 + 2 * n) for n in range(len(pages)))
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
    ]
    for n, (font, stream) in enumerate(pages):
        parts.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 360 540] /Contents %d 0 R"
            b" /Resources << /Font << /F1 %s >> >> >>" % (4 + 2 * n, font)
        )
        entry, stream = stream.split(b"\n", 1) if stream.startswith(b"/Filter") else (b"", stream)
        parts.append(b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(stream), entry, stream))
    body, offsets = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(parts) + 1
    body += b"xref\n0 %d\n0000000000 65535 f \n%strailer\n" % (size, xref)
    body += b"<< /Size %d /Root 1 0 R >>\nstartxref\n" % size
    path.write_bytes(body + b"%d\n%%%%EOF\n" % body.index(b"xref\n0"))
    return path


GOOD_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>"
# A composite font without its descendants makes pdfminer fail in the middle of the page.
BAD_FONT = b"<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H >>"
WORDS = b"BT /F1 11 Tf 40 480 Td (%s) Tj ET"
