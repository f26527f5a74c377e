"""Prepare a base model with ChatML tokens, once; it is then trained on and merged into.

Two resizes of one model give different rows, and then the adapter fits neither. So the base is
changed once, saved with its tokenizer, template and end token, and identified by a hash afterwards.
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
from memoirist.train.disk import file_sizes, need_disk
from memoirist.train.presets import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel


TINY = Path(__file__).parents[1] / "tiny_base"
MANIFEST = "prepared.json"
# The base's sentencepiece model, under a name that no tokenizer loads.
SENTENCEPIECE = "sentencepiece.model"
# Raise this when preparation changes, so that an older prepared base is not taken for the same one.
VERSION = 1
# Hashing 16 GB at every start would take longer than loading them: above this only sizes are
# compared.
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

    It answers in ChatML, or with `native` in its own chat template. Raises TrainError when the
    model cannot be found, read or changed, or is damaged.
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
    damaged = TrainError(
        f"the prepared base {str(folder)!r} is damaged or was changed",
        "remove that folder, it is made again; adapters trained on it need training again",
    )
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["new_ids"] = tuple(manifest["new_ids"])
        base = PreparedBase(path=folder, **manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged from error
    small = sum(base.sizes.values()) <= FULL_HASH_BYTES
    if file_sizes(folder, without=MANIFEST) != base.sizes or (small and _hash(folder) != base.hash):
        raise damaged
    return base


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, at most 300 characters, else its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def readable(base_model: str) -> Iterator[None]:
    """Turn whatever loading `base_model` raises into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, HfHubHTTPError) as error:
        reason = first_line(error)
        step = (
            "check that config.json, tokenizer.json and the safetensors files are whole"
            if Path(base_model).is_dir()
            else "connect to the hub once, give a local folder, or take base_model `tiny`"
        )
        what = f"the base model {base_model!r} cannot be loaded ({reason})"
        raise TrainError(what, step) from error


def unreachable(model_id: str) -> bool:
    """Ask the hub once: loading would ask for each file, six times, for a minute without a net."""
    from huggingface_hub import HfApi

    # Of httpx or httpx2, whichever this hub client was built on.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        HfApi().model_info(model_id, timeout=10)
    except HfHubHTTPError:
        # The hub answers, if only that there is no such model; loading reports that.
        return False
    except (HTTPError, OSError):
        return True
    return False


def _prepare(source: str, folder: Path, template: Template) -> None:
    """Make the prepared base of `source` under a temporary name and rename it to `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        need_disk(folder.parent, 2 * sum(file_sizes(Path(source), without=MANIFEST).values()))
    temporary = Path(mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        with readable(source):
            manifest = _write_base(source, temporary, template)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder without its manifest is the rest of a killed run.
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_base(source: str, target: Path, template: Template) -> dict[str, Any]:
    """Write model and tokenizer of `source`, prepared, to `target`; return the manifest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from memoirist.train.model.model_loader import quiet
    from memoirist.train.model.special_tokens import assign, fill_rows, finish, keep_native

    quiet()
    options: dict[str, Any] = {
        "trust_remote_code": False,
        "local_files_only": not Path(source).is_dir() and unreachable(source),
    }
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    # Safetensors only: a pickle would run code of whoever made it.
    model, report = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, use_safetensors=True, output_loading_info=True, **options
    )
    _refuse_holes(source, model, report)
    rows, n_tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    tokens = (
        keep_native(tokenizer, rows) if template == "native" else assign(tokenizer, rows, target)
    )
    fill_rows(model, tokens, n_tokens)
    finish(model, tokens)
    model.save_pretrained(target)
    tokens.tokenizer.save_pretrained(target)
    _keep_sentencepiece(source, target, cached=options["local_files_only"])
    base = PreparedBase(
        path=target,
        hash=_hash(target),
        name=Path(source).name if Path(source).is_dir() else source,
        n_parameters=model.num_parameters(),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        start_id=tokens.start_id,
        end_id=tokens.end_id,
        new_ids=tokens.new_ids,
        sizes=file_sizes(target, without=MANIFEST),
    )
    return {name: value for name, value in asdict(base).items() if name != "path"}


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


def _keep_sentencepiece(source: str, target: Path, *, cached: bool) -> None:
    """Copy the sentencepiece model of families that have one.

    llama.cpp needs it to convert Gemma and Phi. Under its own name tokenizers would read it, and
    with it the vocabulary without the tokens that were renamed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = Path(source) / "tokenizer.model"
    if not Path(source).is_dir():
        try:
            path = Path(hf_hub_download(source, "tokenizer.model", local_files_only=cached))
        except (EntryNotFoundError, LocalEntryNotFoundError):
            return
    if path.is_file():
        shutil.copyfile(path, target / SENTENCEPIECE)


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in sorted(file_sizes(folder, without=MANIFEST)):
        digest.update(name.encode())
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _fingerprint(source: Path) -> str:
    """Hash the small files of a local model by content and its large ones by size and time."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for name, size in sorted(file_sizes(source, without=MANIFEST).items()):
        path = source / name
        large = size >= 2**26
        content = f"{size} {path.stat().st_mtime_ns}".encode() if large else path.read_bytes()
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()
