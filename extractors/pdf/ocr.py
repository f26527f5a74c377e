"""Make the text layer of scanned pages with ocrmypdf and tesseract, and keep it."""

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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable, SourceWithoutText
from memoirist.data.schema.records import Source
from memoirist.extractors.pdf.ocr_languages import codes_of
from memoirist.extractors.settings import ExtractSettings

Progress = Callable[[int, int], None]

_WORD = re.compile(
    r"<span class=['\"]ocrx_word['\"][^>]*x_wconf (\d+)[^>]*>(.*?)</span>", re.DOTALL
)
_TAG = re.compile(r"<[^>]+>")
# Below this confidence, in percent, a word is told as suspect.
_SUSPECT = 60
_MAX_TOLD = 12
_PAGE_SECONDS = 180
# So sure tesseract must be, in its own measure, to turn a page: a few lines reach no more.
_SURE_TURN = 2
# ocrmypdf's exit codes for a bad file, a missing program and a locked file.
_BAD_INPUT, _MISSING, _LOCKED = 2, 3, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """How sure tesseract was of one page: the mean of its words, 0 to 1, and the doubtful ones."""

    page: int
    confidence: float
    n_words: int
    suspects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLayer:
    """A copy of a PDF with text on the pages that had none."""

    path: str
    pages: tuple[Recognised, ...]


def text_layer(
    source: Source,
    numbers: Sequence[int],
    settings: ExtractSettings,
    on_progress: Progress | None = None,
) -> TextLayer:
    """Return a copy of the PDF in which the pages `numbers` have text; an earlier one if kept.

    Raise SourceWithoutText where a program or a language is missing, SourceUnreadable where
    ocrmypdf refuses the file.
    """
    languages = codes_of(settings.ocr_languages)
    _check_programs(source.location, languages)
    folder = Path(settings.ocr_folder or tempfile.mkdtemp(prefix="memoirist-ocr-"))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{source.sha256[:16]}-{'+'.join(languages)}-{_ranges(numbers)[:40]}".rstrip(",-")
    copy, report = folder / f"{name}.pdf", folder / f"{name}.json"
    if not (copy.exists() and report.exists()):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "made.pdf"
            _run(source.location, made, languages, (numbers, settings.workers, on_progress))
            pages = [_recognised(path) for path in sorted(Path(work).glob("ocrmypdf.io.*/*.hocr"))]
            made.rename(copy)
        # Last: only what is whole has its report.
        report.write_text(json.dumps([asdict(page) for page in pages]), "utf-8")
    found = json.loads(report.read_text("utf-8"))
    pages = [Recognised(**{**each, "suspects": tuple(each["suspects"])}) for each in found]
    return TextLayer(path=str(copy), pages=tuple(pages))


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
    lacking = [each for each in languages if each not in listed.stdout.split()]
    if lacking:
        raise SourceWithoutText(
            f"{what}, and tesseract lacks the language {', '.join(lacking)}",
            f"install it: apt install {_packages(lacking)}, or set sources.extract.ocr_languages",
        )


def _packages(languages: Sequence[str]) -> str:
    return " ".join(f"tesseract-ocr-{each.replace('_', '-')}" for each in languages)


def _ranges(numbers: Sequence[int]) -> str:
    """Return page numbers as ocrmypdf takes them: 1-3,7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _run(
    path: str,
    made: Path,
    languages: Sequence[str],
    work: tuple[Sequence[int], int, Progress | None],
) -> None:
    """Run ocrmypdf; its temporary files stay beside `made`, for they hold the confidences."""
    numbers, workers, on_progress = work
    command = [sys.executable, "-m", "ocrmypdf", "--keep-temporary-files", "--quiet"]
    command += ["--mode", "force", "--pages", _ranges(numbers), "--output-type", "pdf"]
    command += ["--rotate-pages", "--rotate-pages-threshold", str(_SURE_TURN), "--deskew"]
    command += ["--optimize", "0", "--jobs", str(workers)]
    command += ["--tesseract-timeout", str(_PAGE_SECONDS), "-l", "+".join(languages)]
    with subprocess.Popen(
        [*command, path, str(made)],
        env={**os.environ, "TMPDIR": str(made.parent), "OMP_THREAD_LIMIT": "1"},
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
                    if on_progress:
                        done = sum(1 for _ in made.parent.glob("ocrmypdf.io.*/*.hocr"))
                        on_progress(min(done, len(numbers)), len(numbers))
        finally:
            process.kill()
    if process.returncode or not made.exists():
        raise _refused(path, process.returncode, errors)


def _refused(path: str, code: int, errors: str) -> SourceUnreadable:
    told = (errors.strip().splitlines() or ["it gave no reason"])[-1][:160]
    steps = {
        _BAD_INPUT: "mend the file with: qpdf in.pdf out.pdf",
        _MISSING: "install what ocrmypdf misses: apt install tesseract-ocr ghostscript",
        _LOCKED: "unlock it first: qpdf --decrypt --password=... in.pdf out.pdf",
    }
    step = steps.get(code, "try by hand: ocrmypdf in.pdf out.pdf")
    return SourceUnreadable(f"ocrmypdf cannot read the PDF {path!r} ({told})", step)


def _recognised(hocr: Path) -> Recognised:
    """Return how sure tesseract was of a page; words of one letter weigh as much as long ones."""
    words = [
        (int(match[1]), html.unescape(_TAG.sub("", match[2])).strip())
        for match in _WORD.finditer(hocr.read_text("utf-8", "replace"))
    ]
    words = [(confidence, text) for confidence, text in words if text]
    mean = sum(confidence for confidence, _ in words) / len(words) / 100 if words else 0.0
    doubtful = sorted((each for each in words if each[0] < _SUSPECT), key=lambda each: each[0])
    return Recognised(
        page=int(hocr.name[:6]),
        confidence=round(mean, 3),
        n_words=len(words),
        suspects=tuple(dict.fromkeys(text for _, text in doubtful))[:_MAX_TOLD],
    )
