"""The prepared base: a model with ChatML tokens, made once, trained on and merged into.

Two resizes of one model give different rows, and then the adapter fits neither. So the base is
changed once, saved with its tokenizer, template and end token, and known by a hash from then on.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.tokenize import need_disk
from memoirist.train.model.source import keep_pieces, unreachable
from memoirist.train.presets import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel


TINY = Path(__file__).parents[1] / "tiny_base"
MANIFEST = "prepared.json"
# Bump when preparation changes, so that an older prepared base is not taken for the same one.
VERSION = 1
# Hashing 16 GB at every start would take longer than loading them: beyond this, sizes must do.
FULL_HASH_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBase:
    """A base on disk that training, merge and chat share; `hash` covers every file of it."""

    path: Path
    hash: str
    name: str
    n_parameters: int
    vocabulary: int
    start_id: int
    end_id: int
    new_ids: tuple[int, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


def prepare_base(
    base_model: str, bases_folder: Path, template: Template = "chatml"
) -> PreparedBase:
    """Return the prepared base of `tiny`, a local folder or a hub id, making it when it is new.

    It answers in ChatML, or with `native` in the chat template that its maker gave it. Raises
    TrainError when the model cannot be found, read or changed, or is damaged.
    """
    source = TINY if base_model == "tiny" else Path(base_model).expanduser()
    # A hub id and a missing folder look alike; a dot, a slash in front or two slashes say folder.
    if not source.is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", base_model):
        raise TrainError(
            f"no model lies at {base_model!r}", "give `tiny`, a folder with config.json or a hub id"
        )
    local = source.is_dir()
    fingerprint = _fingerprint(source) if local else hashlib.sha256(base_model.encode()).hexdigest()
    name = source.name if local else base_model
    folder = bases_folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}-{fingerprint[:12]}"
    if template == "native":
        folder = folder.with_name(f"{folder.name}-native")
    if not (folder / MANIFEST).exists():
        _prepare(str(source) if local else base_model, folder, template)
    return read_base(folder)


def read_base(folder: Path) -> PreparedBase:
    """Return the prepared base in `folder`; raises TrainError when a file of it has changed."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["new_ids"] = tuple(manifest["new_ids"])
        base = PreparedBase(path=folder, **manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder) from error
    if _sizes(folder) != base.sizes:
        raise _damaged(folder)
    if sum(base.sizes.values()) <= FULL_HASH_BYTES and _hash(folder) != base.hash:
        raise _damaged(folder)
    return base


@contextmanager
def readable(base_model: str) -> Iterator[None]:
    """Turn whatever loading `base_model` raises into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        step = (
            "check that config.json, tokenizer.json and the safetensors files are whole"
            if Path(base_model).is_dir()
            else "connect to the hub once, give a local folder, or take base_model `tiny`"
        )
        what = f"the base model {base_model!r} cannot be loaded ({reason})"
        raise TrainError(what, step) from error


def _prepare(source: str, folder: Path, template: Template) -> None:
    """Make the prepared base of `source` under a temporary name and rename it to `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        need_disk(folder.parent, 2 * sum(_sizes(Path(source)).values()))
    making = Path(mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        with readable(source):
            manifest = _make(source, making, template)
        (making / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder without its manifest is the rest of a killed run.
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _make(source: str, making: Path, template: Template) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from memoirist.train.model.model_loader import quiet
    from memoirist.train.model.special_tokens import assign, fill_rows, finish, keep_native

    quiet()
    cached = not Path(source).is_dir() and unreachable(source)
    tokenizer = AutoTokenizer.from_pretrained(
        source, trust_remote_code=False, local_files_only=cached
    )
    # Safetensors only: a pickle would run code of whoever made it.
    model, report = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=torch.bfloat16,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=cached,
        output_loading_info=True,
    )
    _refuse_holes(source, model, report)
    rows = model.get_input_embeddings().weight.shape[0]
    tokens = (
        keep_native(tokenizer, rows) if template == "native" else assign(tokenizer, rows, making)
    )
    fill_rows(model, tokens)
    finish(model, tokens)
    model.save_pretrained(making)
    tokens.tokenizer.save_pretrained(making)
    keep_pieces(source, making, cached=cached)
    base = PreparedBase(
        path=making,
        hash=_hash(making),
        name=Path(source).name if Path(source).is_dir() else source,
        n_parameters=model.num_parameters(),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        start_id=tokens.start_id,
        end_id=tokens.end_id,
        new_ids=tokens.new_ids,
        sizes=_sizes(making),
    )
    manifest = asdict(base)
    del manifest["path"]
    return manifest


def _refuse_holes(source: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise when weights are missing or not numbers: loading would fill them at random."""
    import torch

    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise TrainError(
            f"the base model {source!r} lacks {len(missing)} weights, {missing[0]!r} among them",
            "fetch it again",
        )
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise TrainError(
                f"the base model {source!r} has weights in {name!r} that are not numbers",
                "fetch it again",
            )


def _damaged(folder: Path) -> TrainError:
    return TrainError(
        f"the prepared base {str(folder)!r} is damaged or was changed",
        "remove that folder, it is made again; adapters trained on it need training again",
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in _files(folder)}


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _fingerprint(source: Path) -> str:
    """Hash the small files of a local model by content and its large ones by size and time."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in _files(source):
        stat = path.stat()
        content = (
            path.read_bytes()
            if stat.st_size < 2**26
            else f"{stat.st_size} {stat.st_mtime_ns}".encode()
        )
        digest.update(path.name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()
