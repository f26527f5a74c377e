"""Make an adapter folder complete by itself: what it belongs to, its tokenizer, its template."""

from __future__ import annotations

import json
from pathlib import Path

from memoirist.train.atomic_files import write_json
from memoirist.train.model.prepared_base import PreparedBase


def complete(adapter: Path, base: PreparedBase) -> None:
    """Let other tools load the PEFT folder `adapter`: name its base, add tokenizer and template.

    The base is the hub id that it came from where no row was added to it, else the prepared base,
    without which the adapter's token rows mean nothing. A second call changes nothing.
    """
    config = adapter / "adapter_config.json"
    told = json.loads(config.read_text("utf-8"))
    on_hub = "/" in base.name and not base.new_ids and not told.get("trainable_token_indices")
    wanted = base.name if on_hub else str(base.path.resolve())
    if told.get("base_model_name_or_path") != wanted:
        write_json(config, {**told, "base_model_name_or_path": wanted})
    if not (adapter / "tokenizer.json").exists():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(base.path).save_pretrained(adapter)


def trains_tokens(adapter: Path) -> bool:
    """Tell whether the adapter trains rows of single tokens, which vLLM does not load."""
    told = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return bool(told.get("trainable_token_indices"))
