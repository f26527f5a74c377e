"""Every dataset file of the corpora: its schema, rows, pairs, and what was refused by which rule.

python -m tests.benchmarks.datasets_table [FOLDER OR FILE...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.extractors import discover
from memoirist.extractors.detection.format_registry import format_named
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents

_ROOT = Path(__file__).parent.parent.parent
_CORPORA = Path(os.environ.get("MEMOIRIST_CORPORA", _ROOT.parent / "shared" / "corpora"))
_FOUND = (
    "SELECT subject, found, by_rule, flags FROM coverage"
    " WHERE subject IN ('rows', 'documents', 'passages', 'pairs')"
)


def main(arguments: list[str] | None = None) -> None:
    """Print one line a file, each read into a workspace of its own."""
    told = arguments or [str(_CORPORA / "datasets"), str(_CORPORA / "derived" / "datasets")]
    if not all(Path(each).exists() for each in told):
        sys.stdout.write("no corpora here: set MEMOIRIST_CORPORA to their folder\n")
        return
    sys.stdout.write(
        "| file | schema | rows | pairs | refused | flags |\n|---|---|---|---|---|---|\n"
    )
    for found in discover(told):
        if format_named(found.format).kind == "dataset":
            sys.stdout.write(_line(found.path) + "\n")
            sys.stdout.flush()


def _line(path: Path) -> str:
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        report = Report(quiet=True)
        report.log = lines.append
        recipe = load(None, {"persona.name": "Ada Marrow", "sources.text_as": "completion"})
        context = Context(Workspace(Path(name)), recipe, report)
        try:
            for step in (lambda c: extract_sources(c, [str(path)]), split_documents, curate_pairs):
                step(context)
        except SourceError as error:
            return f"| {path.name} | | | | {error.what[:120]} | |"
        rows = {row["subject"]: row for row in context.workspace.store.rows(_FOUND)}
    schema = next(
        (each.split("schema ", 1)[1].split(";")[0] for each in lines if "schema" in each), ""
    )
    of_rows, of_pairs = rows.get("rows", {}), rows.get("pairs", {})
    found = context_rows(lines)
    refused = ", ".join(filter(None, (of_rows.get("by_rule"), of_pairs.get("by_rule")))) or "none"
    flags = rows.get("passages", {}).get("flags") or "none"
    return (
        f"| {path.name} | {schema} | {found} | {of_pairs.get('found', 0):,} | {refused} | {flags} |"
    )


def context_rows(lines: list[str]) -> str:
    """Return the number of rows that the extract line tells."""
    told = next((each for each in lines if each.startswith("extract: ") and " row" in each), "")
    parts = [each.strip() for each in told.split(";")]
    return next((each.split(" row")[0] for each in parts if " row" in each[:14]), "")


if __name__ == "__main__":
    main(sys.argv[1:])
