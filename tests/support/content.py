"""What a workspace holds that no rerun may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memoirist.data.store.store import Store

# What a rerun may not change; `added_at` and its like are times.
CONTENT = {
    "sources": "id, sha256",
    "documents": "*",
    "blocks": "*",
    "passages": "*",
    "questions": "*",
    "pairs": "*",
    "verdicts": "subject_id, subject, rule, keep, reason, beaten_by",
    "conversations": "*",
    "models": "run_id, adapter_path, dtype",
}


def content(folder: Path) -> dict[str, list[dict[str, Any]]]:
    store = Store(folder / "workspace" / "memoirist.duckdb")
    return {
        table: store.rows(f"SELECT {columns} FROM {table} ORDER BY ALL")
        for table, columns in CONTENT.items()
    }
