"""Complete an adapter folder for other tools: the name of its base, its tokenizer, its template."""

from __future__ import annotations

import json
from pathlib import Path

from memoirist.train.disk import write_json
from memoirist.train.model.prepared_base import PreparedBase


def complete_adapter(adapter: Path, base: PreparedBase) -> None:
    """Let other tools load the PEFT folder `adapter`: name its base, add tokenizer and template.

    The base is the hub id that it came from where no row was added to it, else the prepared base,
    without which the adapter's token rows mean nothing. A second call changes nothing.
    """
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    on_hub = "/" in base.name and not base.new_ids and not trains_tokens(adapter)
    name = base.name if on_hub else str(base.path.resolve())
    if config.get("base_model_name_or_path") != name:
        write_json(path, {**config, "base_model_name_or_path": name})
    if not (adapter / "tokenizer.json").exists():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(base.path).save_pretrained(adapter)


def trains_tokens(adapter: Path) -> bool:
    """Tell whether the adapter trains rows of single tokens, which vLLM does not load."""
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return bool(config.get("trainable_token_indices"))
