"""The structure itself: imports along the design's arrows, heavy libraries in their place."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARROWS = {
    "data": {"data"},
    "extractors": {"data", "extractors"},
    "generators": {"data", "generators"},
    "train": {"data", "train"},
    "flows": {"data", "extractors", "generators", "train", "flows"},
}
ONLY = {
    "duckdb": {"data"},
    "opencc": {"data"},
    "pdfminer": {"extractors"},
    "pypdfium2": {"extractors"},
    "pypdfium2_raw": {"extractors"},
    "lxml": {"extractors"},
    "mammoth": {"extractors"},
    "markdown_it": {"extractors", "data"},
    "charset_normalizer": {"extractors"},
    # flows: Prefect itself comes with it, and the temporary server is asked by it.
    "httpx": {"extractors", "flows"},
    "openai": {"generators"},
    "httpx2": {"generators"},
    "aiohttp": {"generators"},
    "huggingface_hub": {"extractors", "train"},
    "psutil": {"train"},
    "torch": {"train", "flows"},  # flows: `doctor` alone looks at the device
    "transformers": {"train"},
    "peft": {"train"},
    "prefect": {"flows"},
    "gradio": {"flows"},
    "uvicorn": {"flows"},
    "typer": {"flows"},
}
# Names that may stand in several folders.
_SHARED_NAMES = {"__init__", "__main__", "settings", "base"}


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Yield the folder of ours, or the library, of each import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            yield rest.partition(".")[0] if first == "memoirist" else first


@pytest.mark.parametrize("folder", ARROWS)
def test_imports_follow_the_arrows(folder: str) -> None:
    paths = _modules(folder)
    assert paths
    for path in paths:
        for name in _imports(path):
            assert name not in ARROWS or name in ARROWS[folder], f"{path} imports {name}"
            assert name not in ONLY or folder in ONLY[name], f"{path} imports {name}"


@pytest.mark.parametrize("folder", [*ARROWS, "tests"])
def test_imports_name_memoirist(folder: str) -> None:
    for path in _modules(folder):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in ARROWS, path


def test_only_doctor_looks_at_torch_in_flows() -> None:
    users = {path.name for path in _modules("flows") if "torch" in set(_imports(path))}
    assert users == {"doctor.py"}


@pytest.mark.parametrize(
    "module", ["memoirist.flows.cli.main", "memoirist.flows.cli.inspect_commands"]
)
def test_the_command_line_starts_without_heavy_libraries(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(*{'torch', 'prefect', 'transformers', 'aiohttp', 'openai', 'duckdb', 'pdfminer',"
        " 'gradio', 'pydantic', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_file_that_a_file_names_is_there() -> None:
    """In capitals, as in flows/steps/VERB.py, the name stands for any."""
    folders = "|".join([*ARROWS, "tests"])
    named = re.compile(rf"(?<![\w/])(?:{folders})/[\w/]*\b[a-z_0-9]+\.(?:py|sql|md)\b")
    files = [path for folder in ARROWS for path in (ROOT / folder).rglob("*.*")]
    files = [path for path in files if path.suffix in {".py", ".sql"}]
    for path in (*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for name in named.findall(path.read_text("utf-8")):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} names {name}"


def test_a_module_that_runs_by_itself_does_so_at_its_end() -> None:
    for path in [path for folder in ARROWS for path in _modules(folder)]:
        body = ast.parse(path.read_text("utf-8")).body
        starts = [n for n, each in enumerate(body) if "__main__" in ast.dump(each)]
        assert starts in ([], [len(body) - 1]), path


def test_every_module_name_stands_once() -> None:
    names = Counter(
        path.stem
        for folder in ARROWS
        for path in _modules(folder)
        if path.stem not in _SHARED_NAMES
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_folders_are_two_levels_deep_and_not_crowded() -> None:
    for folder in ARROWS:
        crowds = Counter(path.relative_to(ROOT).parent for path in _modules(folder))
        assert all(len(place.parts) <= 3 for place in crowds), crowds
        assert max(crowds.values()) <= 16, crowds


def test_modules_stay_small() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for folder in ARROWS
        for path in _modules(folder)
    }
    assert {path: length for path, length in lengths.items() if length > 550} == {}


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports within functions and those for type checkers alone count like any other."""
    modules = {
        ".".join(("memoirist", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for folder in ARROWS
        for path in _modules(folder)
    }
    imported: dict[str, set[str]] = {}
    for module, path in modules.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        imported[module] = (names & modules.keys()) - {module}
    assert sum(map(len, imported.values())) > len(modules)
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")
