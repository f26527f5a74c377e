"""Lay models out for an OpenAI-compatible server: each under a name, with its template and limits.

The layout is the hub's own cache, made of links: the server then lists our models, finds no other
one, and needs neither the network nor a path in a model's name (an @ or a colon in a path would be
taken for a revision or a file).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.train.settings import ChatSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Any 40 digits do: the reference `main` points at them.
_REVISION = "0" * 40
_OWN = {"chat_template.jinja", "generation_config.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A model's name and folder, and whether its template puts a prompt where none is sent."""

    name: str
    folder: Path
    system: bool


def shelve(shelf: Path, name: str, model_folder: Path, system: str) -> Shelved:
    """Put a merged model or a prepared base on the shelf under `name` (OWNER/NAME).

    Whoever sends no system message gets `system`, so that the disclosure of an AI does not depend
    on the client. Sampling is switched on: servers take a request's temperature only then.
    """
    from transformers import AutoTokenizer

    folder = shelf / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_REVISION, "ascii")
    for path in sorted(model_folder.iterdir()):
        if path.is_file() and path.name not in _OWN:
            (snapshot / path.name).symlink_to(path.resolve())
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    template = with_default_system(tokenizer, system) if system else None
    (snapshot / "chat_template.jinja").write_text(template or tokenizer.chat_template, "utf-8")
    (snapshot / "generation_config.json").write_text(
        json.dumps(_generation(model_folder), indent=1), "utf-8"
    )
    return Shelved(name=name, folder=snapshot, system=template is not None)


def with_default_system(tokenizer: PreTrainedTokenizerBase, system: str) -> str | None:
    """Return the template with a system message for conversations that bring none.

    None where the model's own template has no place for one.
    """
    from jinja2.exceptions import TemplateError

    # JSON's escapes are Jinja's as well, as long as no character is split into surrogates.
    message = f"{{'role': 'system', 'content': {json.dumps(system, ensure_ascii=False)}}}"
    template = (
        "{%- if not messages or messages[0]['role'] != 'system' -%}"
        f"{{%- set messages = [{message}] + messages -%}}"
        f"{{%- endif -%}}{tokenizer.chat_template}"
    )
    try:
        text: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": "x"}], chat_template=template, tokenize=False
        )
    except TemplateError:
        return None
    return template if system.strip() in str(text) else None


def _generation(model_folder: Path) -> dict[str, Any]:
    """Return the model's own generation settings, drawing as `chat` does."""
    path = model_folder / "generation_config.json"
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    usual = ChatSettings()
    drawn = {"do_sample": True, "temperature": usual.temperature, "top_p": usual.top_p, "top_k": 0}
    return {**known, **drawn, "max_new_tokens": usual.max_new_tokens}


def merge_checkpoint(run_folder: Path, step: int, folder: Path) -> None:
    """Write base + adapter of a checkpoint as one model, for servers that take no adapter.

    Into the weights that it was trained on, as `merge` does: a base held in few bits made full
    again, a base held as it is left so.
    """
    import torch

    from memoirist.train.loop.checkpoints import (
        base_of,
        checkpoint_folder,
        load_checkpoint,
        trained_with,
    )
    from memoirist.train.merge.merge_work import Work, ways_of, write_merged
    from memoirist.train.merge.merged_weights import deltas_of
    from memoirist.train.model.model_loader import compute_dtype
    from memoirist.train.settings import MergeSettings

    model, tokenizer = load_checkpoint(run_folder, step)
    deltas = deltas_of(model)
    del model
    work = Work(
        run_folder=run_folder,
        adapter=checkpoint_folder(run_folder, step),
        base=base_of(run_folder),
        trained=trained_with(run_folder),
        settings=MergeSettings(method="dequantised"),
        tokenizer=tokenizer,
    )
    dtype = compute_dtype() if torch.cuda.is_available() else torch.float32
    write_merged(work, folder, ways_of(work)[0], deltas, dtype)
