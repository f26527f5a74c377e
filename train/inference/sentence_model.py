"""Load the small model of sentences of the extra `semantic`; nothing is downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

_PACKAGE = "all_minilm_l6_v2"
_NEEDED = (_PACKAGE, "transformers", "torch")
_MAX_TOKENS = 128
# The language that the model has learnt; vectors of others are too much alike.
LANG = "en"


def is_installed() -> bool:
    """Tell whether the model and what runs it are installed."""
    return all(importlib.util.find_spec(name) for name in _NEEDED)


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return the unit vector of each text, of a few at a time."""
    return _model()(texts)


@cache
def _model() -> Callable[[Sequence[str]], list[list[float]]]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from memoirist.train.model.model_loader import quiet

    quiet()
    folder = unpack_model()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    def embed(texts: Sequence[str]) -> list[list[float]]:
        batch = tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        means = (states * mask).sum(1) / mask.sum(1)
        vectors: list[list[float]] = torch.nn.functional.normalize(means, dim=-1).tolist()
        return vectors

    return embed


def unpack_model() -> Path:
    """Return the folder of the model, unpacked once for each version of the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed")
    archive = Path(spec.origin).with_name("model.zip")
    mark = hashlib.sha256(f"{archive} {archive.stat().st_size}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"memoirist-{_PACKAGE}-{mark}"
    if not (folder / "config.json").exists():
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
        with zipfile.ZipFile(archive) as content:
            content.extractall(partial)
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
            if not (folder / "config.json").exists():
                raise
    return folder
