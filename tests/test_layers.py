"""The structure itself: imports only along the design's arrows, heavy libraries in their place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
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
    "pypdfium2_raw": {"extractors"},
    "lxml": {"extractors"},
    "mammoth": {"extractors"},
    "markdown_it": {"extractors"},
    "charset_normalizer": {"extractors"},
    "httpx": {"extractors"},
    "aiohttp": {"generators"},
    "huggingface_hub": {"extractors", "train"},
    "psutil": {"train"},
    "torch": {"train", "flows"},  # flows: `doctor` alone looks at the device
    "transformers": {"train"},
    "peft": {"train"},
    "prefect": {"flows"},
    "gradio": {"flows"},
    "uvicorn": {"flows"},
    "openai": {"generators"},
    "httpx2": {"generators"},
    "typer": {"flows"},
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ARROWS)
def test_imports_follow_the_arrows(folder: str) -> None:
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for name in _imports(path):
            assert name not in ARROWS or name in ARROWS[folder], f"{path} imports {name}"
            assert name not in ONLY or folder in ONLY[name], f"{path} imports {name}"


def test_only_doctor_looks_at_torch_in_flows() -> None:
    users = {p.name for p in (ROOT / "flows").rglob("*.py") if "torch" in set(_imports(p))}
    assert users == {"doctor.py"}


@pytest.mark.parametrize("module", ["flows.cli", "flows.commands_look"])
def test_the_command_line_starts_without_heavy_libraries(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(*{'torch', 'prefect', 'transformers', 'aiohttp', 'openai', 'duckdb', 'pdfminer',"
        " 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_modules_stay_small() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for folder in ARROWS
        for path in (ROOT / folder).rglob("*.py")
    }
    # The pretraining script reads top to bottom on purpose.
    long = {p for p, n in lengths.items() if n > 500} - {
        Path("train/pretrain.py"),
        Path("data/samples/typeset.py"),
    }
    assert not long
