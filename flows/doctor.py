"""Check this machine and a workspace's store, each finding with a next step."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from memoirist.data.schema.errors import MemoiristError
from memoirist.data.schema.records import Model
from memoirist.data.store.integrity import check_store
from memoirist.data.store.store import Fetched, Store
from memoirist.flows.runtime.context import Context

_LOCAL = (
    ("Ollama", "http://127.0.0.1:11434/v1"),
    ("LM Studio", "http://127.0.0.1:1234/v1"),
    ("vLLM", "http://127.0.0.1:8000/v1"),
    ("llama.cpp", "http://127.0.0.1:8080/v1"),
)
_GB = 1024**3


class Finding(NamedTuple):
    """The result of one check, with the next step."""

    state: Literal["ok", "look"]
    what: str
    finding: str
    next_step: str = ""


def examine(context: Context) -> Fetched:
    """Run all checks; return a row for each finding."""
    findings = [
        Finding("ok", "python", f"{platform.python_version()} on {platform.machine()}"),
        *_torch(),
        *_endpoints(context),
        *_serving(),
        _hub(),
        _memory(),
        _disk(context),
        *_store(context),
    ]
    return Fetched(columns=list(Finding._fields), numeric=[False] * 4, rows=list(findings))


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        yield Finding("look", "torch", "not installed", "pip install 'memoirist[train]'")
        return
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        memory = f"{device.total_memory / _GB:.0f} GB"
        yield Finding("ok", "torch", f"{torch.__version__}, {device.name}, {memory}")
    else:
        yield Finding(
            "ok",
            "torch",
            f"{torch.__version__} on {torch.get_num_threads()} CPU threads",
            "the tiny base trains in minutes; a base with billions of parameters needs a GPU",
        )
    yield _four_bit()


def _four_bit() -> Finding:
    """Quantise a small matrix: a successful import alone proves nothing."""
    try:
        import logging

        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        import torch
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        device = "cuda" if torch.cuda.is_available() else "cpu"
        weights = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = quantize_4bit(weights, quant_type="nf4")
        error = float((dequantize_4bit(packed, state) - weights).abs().mean())
    except (ImportError, RuntimeError, OSError) as fault:
        return Finding(
            "look", "4-bit", f"does not work: {fault}", "train with --set train.quantisation=none"
        )
    return Finding("ok", "4-bit", f"NF4 works on {device} (mean error {error:.3f})")


def _serving() -> Iterator[Finding]:
    """Check the libraries of model server and web page; `chat` needs only torch."""
    missing = [name for name in ("openai", "uvicorn", "fastapi") if find_spec(name) is None]
    has_vllm = find_spec("vllm") is not None
    if missing and not has_vllm:
        finding = f"{', '.join(missing)} not installed"
        yield Finding("look", "serving", finding, "pip install 'memoirist[serve]'")
    else:
        finding = f"with {'vLLM or ' if has_vllm else ''}transformers serve"
        yield Finding("ok", "serving", finding, "memoirist serve-model")
    if find_spec("gradio") is None:
        yield Finding("look", "web page", "gradio not installed", "pip install 'memoirist[web]'")
    elif not missing:
        yield Finding("ok", "web page", f"Gradio {version('gradio')}", "memoirist web")


def _endpoints(context: Context) -> Iterator[Finding]:
    configured = context.recipe.interview.base_url or os.environ.get("OPENAI_BASE_URL")
    candidates = list(_LOCAL)
    if configured:
        candidates.insert(0, ("endpoint", configured))
    elif os.environ.get("OPENAI_API_KEY"):
        candidates.insert(0, ("OpenAI", "https://api.openai.com/v1"))
    models_of = {(name, url): _models(url) for name, url in candidates}
    for (name, url), models in models_of.items():
        if models is not None:
            finding = f"{name} at {url} serves: {models}"
            yield Finding("ok", "endpoint", finding, f"--base-url {url}")
        elif (name, url) not in _LOCAL:
            finding = f"{url} does not answer"
            yield Finding("look", "endpoint", finding, "check the address and the key")
    if not any(models is not None for models in models_of.values()):
        yield Finding(
            "look",
            "endpoint",
            "no LLM endpoint answers",
            "the offline interviewer asks; for better questions start Ollama or set OPENAI_API_KEY",
        )


def _models(url: str) -> str | None:
    """Return the models that a server lists, or None if it does not answer in 2 seconds."""
    import json

    key = os.environ.get("OPENAI_API_KEY")
    request = urllib.request.Request(f"{url.rstrip('/')}/models")  # noqa: S310 - the user's own
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:  # noqa: S310
            models = json.load(reply).get("data", [])
    except (urllib.error.URLError, OSError, ValueError, AttributeError):
        return None
    names = [str(model.get("id")) for model in models if isinstance(model, dict)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _hub() -> Finding:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(address, timeout=3):  # noqa: S310 - a fixed https address
            return Finding("ok", "hub", f"{address} can be reached")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding(
            "look", "hub", f"{address}: {error}", "offline: use --base-model tiny or a local folder"
        )


def _memory() -> Finding:
    if sys.platform != "linux":
        return Finding("ok", "memory", "not measured on this system")
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    total = pages * size / _GB
    step = "" if total >= 4 else "the bundled build needs about 4 GB: close other programs"
    return Finding("ok" if total >= 4 else "look", "memory", f"{total:.1f} GB", step)


def _disk(context: Context) -> Finding:
    folder = context.workspace.root.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GB
    step = "" if free >= 2 else "a build writes about 0.5 GB beside the base model: free some space"
    return Finding("ok" if free >= 2 else "look", "disk", f"{free:.1f} GB free at {folder}", step)


def _store(context: Context) -> Iterator[Finding]:
    """Check the workspace's database, its lock, and the folders of its models."""
    workspace = context.workspace
    path = workspace.store.path
    if not path.exists() and workspace.runs.is_dir() and (workspace.root / "recipe.toml").exists():
        step = "restore it from a backup, or build again (its paid replies are lost then)"
        yield Finding("look", "store", f"{str(path)!r} is missing", step)
        return
    if not path.exists():
        step = "make one with `memoirist build SOURCE --persona NAME`, or name it with -w"
        yield Finding("ok", "store", f"no workspace at {str(workspace.root)!r} yet", step)
        return
    if holder := workspace.lock_holder():
        finding = f"the workspace is in use by process {holder}"
        yield Finding("look", "lock", finding, "wait until it has ended, and check again")
    size = f"{path.stat().st_size / 2**20:,.0f} MB at {str(path)!r}"
    yield Finding("ok", "store", size)
    store = Store(path, migrates=False)
    for check in check_store(store):
        yield Finding("look" if check.next_step else "ok", "store", *check)
    yield from _models_of(store, workspace.root)


def _models_of(store: Store, root: Path) -> Iterator[Finding]:
    """Check that the adapters and merged models of the registry are there."""
    try:
        models = store.nouns(Model)
    except MemoiristError:
        return  # the store's own finding says why
    for model in models:
        merge_again = f"merge it again: `memoirist models pick {model.run_id}`"
        for folder, step in (
            (model.adapter_path, "train again: `memoirist build`"),
            (model.merged_path, merge_again),
        ):
            if folder and not (root / folder).is_dir():
                yield Finding("look", "model", f"{folder!r} is missing", step)
