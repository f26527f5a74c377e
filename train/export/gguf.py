"""Convert a merged model into one GGUF file, by llama.cpp's own converter where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from memoirist.data.composition.chatml import IM_END, IM_START
from memoirist.data.schema.errors import TrainError
from memoirist.train.disk import write_json
from memoirist.train.model.prepared_base import SENTENCEPIECE, PreparedBase

SCRIPT = "convert_hf_to_gguf.py"


def converter() -> list[str]:
    """Return the command of the converter, from PATH or from the folder LLAMA_CPP.

    Raises TrainError, with the way to get it, when it is in neither.
    """
    folder = os.environ.get("LLAMA_CPP")
    if folder and (Path(folder) / SCRIPT).is_file():
        return [sys.executable, str(Path(folder) / SCRIPT)]
    if program := shutil.which(SCRIPT):
        return [program]
    where = f"PATH, nor in LLAMA_CPP={folder!r}" if folder else "PATH"
    raise TrainError(
        f"{SCRIPT} is not in {where}",
        "fetch llama.cpp (github.com/ggml-org/llama.cpp), pip install its"
        " requirements/requirements-convert_hf_to_gguf.txt, and set LLAMA_CPP to its folder",
    )


def to_gguf(
    merged: Path, base: PreparedBase, target: Path, tell: Callable[[str], None] | None = None
) -> Path:
    """Convert the merged model to `target`, whole or not at all; TrainError tells what failed."""
    command = converter()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.making.gguf")
    temporary.unlink(missing_ok=True)
    with _with_sentencepiece(merged, base) as folder:
        arguments = [*command, str(folder), "--outfile", str(temporary), "--outtype", "auto"]
        if tell is not None:
            tell(" ".join(arguments))
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    try:
        if done.returncode or not temporary.exists() or _first_bytes(temporary) != b"GGUF":
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no output"]
            lacks = "No module named" in lines[-1]
            other = "serve the merged folder itself, or use a llama.cpp that knows this model"
            raise TrainError(
                f"llama.cpp's converter made no GGUF of {str(merged)!r} ({lines[-1][:300]})",
                f"pip install the missing module for {command[0]!r}" if lacks else other,
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


@contextmanager
def _with_sentencepiece(merged: Path, base: PreparedBase) -> Iterator[Path]:
    """Yield the model as the converter wants it: with the base's sentencepiece, if it has one.

    added_tokens.json lists the tokens that have other names in it.
    """
    sentencepiece = base.path / SENTENCEPIECE
    if not sentencepiece.exists():
        yield merged
        return
    with TemporaryDirectory(prefix="gguf-") as name:
        folder = Path(name)
        for path in merged.iterdir():
            (folder / path.name).symlink_to(path.resolve())
        (folder / "tokenizer.model").symlink_to(sentencepiece.resolve())
        added = {IM_START: base.start_id, IM_END: base.end_id} if base.new_ids else {}
        write_json(folder / "added_tokens.json", added)
        yield folder


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
