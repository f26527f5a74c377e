"""Every odd PDF of the corpora ends as documents or as a verdict, soon and in little memory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.benchmarks.measure import run

_ROOT = Path(__file__).parent.parent.parent
_CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", _ROOT.parent / "shared" / "corpora"))
_FOLDERS = ("pdf-odd", "derived/pdf", "pdf-gt", "pdf-bench/py-pdf/pdfs")
_MAX_SECONDS, _MAX_MB = 20.0, 1024.0


def main() -> None:
    """Print one line a file and engine: seconds, peak memory, what came of it; end 1 on a fault."""
    if not _CORPORA.is_dir():
        sys.stdout.write("odd PDFs: the test corpora are not here; set MEMOIRIST_CORPORA\n")
        return
    paths = [path for each in _FOLDERS for path in sorted((_CORPORA / each).rglob("*.pdf"))]
    wanted = sys.argv[1:] or ["auto", "pdfium", "pdfminer"]
    faults = sum(_told(path, engine) for engine in wanted for path in paths)
    sys.stdout.write(f"{len(paths)} odd PDFs, {faults} beyond {_MAX_SECONDS:.0f} s, ")
    sys.stdout.write(f"{_MAX_MB:.0f} MB or without an outcome\n")
    if faults:
        sys.exit(1)


def _told(path: Path, engine: str) -> bool:
    """Print the line of one file; return whether it broke a limit."""
    command = [sys.executable, "-m", "tests.benchmarks.odd_pdfs", "--one", engine, str(path)]
    done = run(command, _ROOT, dict(os.environ))
    try:
        outcome = json.loads(done.output.splitlines()[-1])
    except (IndexError, ValueError):
        outcome = f"NO OUTCOME, code {done.code}: {done.output[-200:]!r}"
    bad = done.seconds > _MAX_SECONDS or done.peak_mb > _MAX_MB or "NO OUTCOME" in outcome
    name = str(path.relative_to(_CORPORA))
    sys.stdout.write(
        f"{engine:<8} {done.seconds:5.1f} s {done.peak_mb:5.0f} MB  {name}: {outcome}\n"
    )
    sys.stdout.flush()
    return bad


def _outcome(path: Path, engine: str) -> str:
    from datetime import UTC, datetime

    from memoirist.data.schema.errors import SourceError
    from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source

    settings = ExtractSettings.model_validate({"engine": engine})
    try:
        rows = extract(read_source(SourceRef(path=path, format="pdf"), datetime.now(UTC)), settings)
    except SourceError as error:
        return f"{error.rule}: {error.what.replace(str(path), path.name)}"
    rules = sorted({verdict.rule for verdict in rows.verdicts})
    n_chars = sum(len(block.text) for block in rows.blocks)
    told = f"{len(rows.blocks)} blocks, {n_chars} characters"
    return told + (f"; {len(rows.verdicts)} verdicts: {', '.join(rules)}" if rules else "")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(json.dumps(_outcome(Path(sys.argv[3]), sys.argv[2])) + "\n")
    else:
        main()
