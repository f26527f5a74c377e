"""What places are called: short, and never two alike."""

from __future__ import annotations

import json
from pathlib import Path

from memoirist.flows.steps.extract import short_names
from tests.conftest import Command


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["/a/x/one.md", "/a/x/two.md"]) == {
        "/a/x/one.md": "one.md",
        "/a/x/two.md": "two.md",
    }
    same = ["/a/x/one.md", "/a/y/one.md", "/b/y/one.md", "/one.md", "/b/two.md", "/b/two.md"]
    assert short_names(same) == {
        "/a/x/one.md": "x/one.md",
        "/a/y/one.md": "a/y/one.md",
        "/b/y/one.md": "b/y/one.md",
        "/one.md": "one.md",
        "/b/two.md": "two.md",
    }
    assert short_names(["hf://org/name", "/name"]) == {
        "hf://org/name": "hf://org/name",
        "/name": "name",
    }
    assert short_names([]) == {}


def test_the_extract_lines_tell_files_of_one_name_apart(memoirist: Command, tmp_path: Path) -> None:
    for n, folder in enumerate(("first", "second")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.txt").write_text(f"I went to the yard {n} times.\n" * 3)
        rows = [{"question": f"What {k}?", "answer": f"The plank {n} {k}."} for k in range(3)]
        (tmp_path / folder / "rows.json").write_text(json.dumps(rows))
        (tmp_path / folder / "cover.png").write_bytes(b"\x89PNG")
    done = memoirist("extract", "first", "second", "--persona", "Ada Marrow")
    assert done.returncode == 0, done.stderr
    for folder in ("first", "second"):
        for name in ("talk.txt:", "rows.json:"):
            assert f"  {folder}/{name}" in done.stderr
        assert f"{folder}/cover.png" in done.stderr
