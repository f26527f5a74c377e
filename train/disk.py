"""Read and write small files whole or not at all, and refuse work that the disk has no room for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import TrainError


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON under a temporary name and rename it to `path`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one where there is none or only half of one."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_text(path: Path, text: str) -> None:
    """Write `text` under a temporary name and rename it to `path`."""
    temporary = path.with_name(f".{path.name}.making")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def file_sizes(folder: Path, *, without: str) -> dict[str, int]:
    """Return the size of every file in a folder by name, `without` one of them."""
    files = (path for path in folder.iterdir() if path.is_file() and path.name != without)
    return {path.name: path.stat().st_size for path in files}


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Raise TrainError when the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise TrainError(
            f"the disk of {str(folder)!r} has {free / 2**20:,.0f} MB free and this needs "
            f"{needed_bytes / 2**20:,.0f} MB",
            "free space or use another workspace",
        )
