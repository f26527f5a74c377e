"""Read scanned pages by OCR: ocrmypdf and tesseract make a text layer, which is kept."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable, SourceWithoutText
from memoirist.data.schema.records import Document, Source, Verdict
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.pdf.engines.worker_pool import read_all_pages
from memoirist.extractors.pdf.layout.geometry import PageLines, groups
from memoirist.extractors.pdf.page_verdicts import is_scan, page_verdict
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.word_tables import table

_WORD = re.compile(
    r"<span class=['\"]ocrx_word['\"][^>]*x_wconf (\d+)[^>]*>(.*?)</span>", re.DOTALL
)
_TAG = re.compile(r"<[^>]+>")
# Below this confidence, in percent, a word is named as suspect.
_SUSPECT = 60
_MAX_SUSPECTS = 12
_PAGE_SECONDS = 180
# So sure tesseract must be, in its own measure, to turn a page: a few lines reach no more.
_SURE_TURN = 2
# ocrmypdf's exit codes for a bad file, a missing program and a locked file.
_BAD_INPUT, _MISSING, _LOCKED = 2, 3, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OcrPage:
    """How sure tesseract was of one page: the mean of its words, 0 to 1, and the doubtful ones."""

    page: int
    confidence: float
    n_words: int
    suspects: Sequence[str]


def with_ocr(
    source: Source,
    pages: Sequence[PageLines],
    settings: ExtractSettings,
    on_progress: Progress | None = None,
) -> tuple[Sequence[PageLines], Sequence[OcrPage]]:
    """Return the pages with OCR's text where they have none of their own, if it is asked for.

    A page that was read with too little confidence has no lines.
    """
    scanned = {
        page.page
        for page in pages
        if is_scan(page) or page.unmapped_share > settings.max_unmapped_share
    }
    if not settings.ocr or not scanned:
        return pages, ()
    copy, ocr_pages = text_layer(source, sorted(scanned), settings, on_progress)
    read = read_all_pages(str(copy), len(pages), settings)
    results = {page.page: page for page in ocr_pages if page.n_words and page.page in scanned}
    merged = list(pages)
    for number, result in results.items():
        sure = result.confidence >= settings.ocr_min_confidence
        merged[number - 1] = read[number - 1] if sure else replace(pages[number - 1], lines=())
    return merged, list(results.values())


def ocr_verdict(document: Document, page: OcrPage, min_confidence: float) -> Verdict:
    """Return how sure OCR was of one page, and whether the page is kept for it."""
    keep = page.confidence >= min_confidence
    suspects = f"; doubtful: {', '.join(page.suspects)}" if page.suspects else ""
    outcome = "" if keep else ", too low to keep"
    reason = (
        f"page {page.page}: {page.n_words} words read by OCR, mean confidence"
        f" {page.confidence:.0%}{outcome}{suspects}"
    )
    step = "compare the doubtful words with the scan" if keep else "scan it in better quality"
    verdict = page_verdict(document, page.page, "ocr_confidence", "", step)
    return replace(verdict, keep=keep, score=page.confidence, reason=reason)


def text_layer(
    source: Source,
    numbers: Sequence[int],
    settings: ExtractSettings,
    on_progress: Progress | None = None,
) -> tuple[Path, list[OcrPage]]:
    """Return a copy of the PDF with text on the pages `numbers`, and how sure OCR was of them.

    An earlier copy is used again.

    Raise SourceWithoutText where a program or a language is missing, SourceUnreadable where
    ocrmypdf refuses the file.
    """
    languages = tesseract_codes(settings.ocr_languages)
    _check_programs(source.location, languages)
    folder = Path(settings.ocr_folder or tempfile.mkdtemp(prefix="memoirist-ocr-"))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{source.sha256[:16]}-{'+'.join(languages)}-{_ranges(numbers)[:40]}".rstrip(",-")
    copy, report = folder / f"{name}.pdf", folder / f"{name}.json"
    if not (copy.exists() and report.exists()):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            command = _command(numbers, languages, settings.workers)
            output = Path(work) / "output.pdf"
            for n_done in _run([*command, source.location, str(output)], output):
                if on_progress:
                    on_progress(min(n_done, len(numbers)), len(numbers))
            pages = [_ocr_page(path) for path in _results(output)]
            output.rename(copy)
        # Last: only what is whole has its report.
        report.write_text(json.dumps([asdict(page) for page in pages]), "utf-8")
    return copy, [OcrPage(**page) for page in json.loads(report.read_text("utf-8"))]


def tesseract_codes(languages: Sequence[str]) -> list[str]:
    """Return tesseract's codes of languages; a code that is no ISO 639-1 one is taken for its own.

    Without any language it is English.
    """
    tesseract = table("ocr_languages")
    codes = (
        tesseract.get(language.split("-")[0].lower(), language)
        for language in languages
        if language.strip()
    )
    return list(dict.fromkeys(codes)) or ["eng"]


def _check_programs(path: str, languages: Sequence[str]) -> None:
    what = f"the PDF {path!r} needs OCR"
    if importlib.util.find_spec("ocrmypdf") is None:
        raise SourceWithoutText(
            f"{what}, and ocrmypdf is not installed", "install it: pip install 'memoirist[ocr]'"
        )
    if shutil.which("tesseract") is None:
        raise SourceWithoutText(
            f"{what}, and tesseract is not installed",
            f"install it: apt install tesseract-ocr {_packages(languages)}",
        )
    listed = subprocess.run(
        ["tesseract", "--list-langs"], capture_output=True, text=True, check=False
    )
    missing = [code for code in languages if code not in listed.stdout.split()]
    if missing:
        raise SourceWithoutText(
            f"{what}, and tesseract lacks the language {', '.join(missing)}",
            f"install it: apt install {_packages(missing)}, or set sources.extract.ocr_languages",
        )


def _packages(languages: Sequence[str]) -> str:
    return " ".join(f"tesseract-ocr-{code.replace('_', '-')}" for code in languages)


def _ranges(numbers: Sequence[int]) -> str:
    """Return page numbers as ocrmypdf takes them: 1-3,7."""
    runs = groups(sorted(numbers), lambda run, number: number == run[-1] + 1)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _command(numbers: Sequence[int], languages: Sequence[str], workers: int) -> list[str]:
    command = [sys.executable, "-m", "ocrmypdf", "--keep-temporary-files", "--quiet"]
    command += ["--mode", "force", "--pages", _ranges(numbers), "--output-type", "pdf"]
    command += ["--rotate-pages", "--rotate-pages-threshold", str(_SURE_TURN), "--deskew"]
    command += ["--optimize", "0", "--jobs", str(workers)]
    return [*command, "--tesseract-timeout", str(_PAGE_SECONDS), "-l", "+".join(languages)]


def _run(command: Sequence[str], output: Path) -> Iterator[int]:
    """Run ocrmypdf, and give the number of pages done from time to time.

    Its temporary files stay beside `output`, for they hold the confidences.
    """
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(output.parent), "OMP_THREAD_LIMIT": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    yield len(_results(output))
        finally:
            process.kill()
    if process.returncode or not output.exists():
        raise _refusal(command[-2], process.returncode, errors)


def _results(output: Path) -> list[Path]:
    """Return tesseract's results for single pages, in order."""
    return sorted(output.parent.glob("ocrmypdf.io.*/*.hocr"))


def _refusal(path: str, code: int, errors: str) -> SourceUnreadable:
    reason = (errors.strip().splitlines() or ["no reason given"])[-1][:160]
    steps = {
        _BAD_INPUT: "repair the file with: qpdf in.pdf out.pdf",
        _MISSING: "install what ocrmypdf needs: apt install tesseract-ocr ghostscript",
        _LOCKED: "unlock it first: qpdf --decrypt --password=... in.pdf out.pdf",
    }
    step = steps.get(code, "run it yourself to see why: ocrmypdf in.pdf out.pdf")
    return SourceUnreadable(f"ocrmypdf cannot read the PDF {path!r} ({reason})", step)


def _ocr_page(hocr: Path) -> OcrPage:
    """Return how sure tesseract was of a page; words of one letter weigh as much as long ones."""
    words = [
        (int(match[1]), text)
        for match in _WORD.finditer(hocr.read_text("utf-8", "replace"))
        if (text := html.unescape(_TAG.sub("", match[2])).strip())
    ]
    mean = sum(confidence for confidence, _ in words) / len(words) / 100 if words else 0.0
    doubtful = sorted((word for word in words if word[0] < _SUSPECT), key=lambda word: word[0])
    return OcrPage(
        page=int(hocr.name[:6]),
        confidence=round(mean, 3),
        n_words=len(words),
        suspects=list(dict.fromkeys(text for _, text in doubtful))[:_MAX_SUSPECTS],
    )
