"""What a base is made of, from its configuration alone: no weight of it is loaded or fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memoirist.train.model.model_loader import quiet
from memoirist.train.model.prepared_base import TINY, readable
from memoirist.train.model.source import unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a base; `linears` lists (name, inputs, outputs) of every layer that LoRA can take.

    `n_parameters` counts tied weights once, `n_linear` those of `linears`, which are quantised.
    `context` is how many tokens a row may have, None where the base names no limit.
    """

    n_parameters: int
    n_linear: int
    layers: int
    width: int
    vocabulary: int
    linears: tuple[tuple[str, int, int], ...]
    context: int | None = None

    def adapted(self, target_modules: str | Iterable[str]) -> list[tuple[str, int, int]]:
        """Return the linear layers that get an adapter."""
        if target_modules == "all-linear":
            return list(self.linears)
        names = [target_modules] if isinstance(target_modules, str) else target_modules
        # As peft finds them: by the end of their path, whole words.
        ends = tuple(f".{name}" for name in names)
        return [each for each in self.linears if f".{each[0]}".endswith(ends)]

    @property
    def names(self) -> list[str]:
        """Return the last words of the linear layers' paths, each once, in their order."""
        return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name, *_ in self.linears))


def shape_of(base_model: str) -> Shape:
    """Return the shape of `tiny`, a folder or a hub id, of which config.json alone is fetched.

    Raises TrainError when there is no such configuration, or no network to fetch it.
    """
    quiet()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    folder = TINY if base_model == "tiny" else Path(base_model).expanduser()
    with readable(base_model):
        # Asked once whether the hub answers: its own way to find out takes a minute.
        config = AutoConfig.from_pretrained(
            str(folder) if folder.is_dir() else base_model,
            trust_remote_code=False,
            local_files_only=not folder.is_dir() and unreachable(base_model),
        )
        # The module tree without its numbers: exact for every family, and no formula to keep up.
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = []
    for name, part in model.named_modules():
        if part is not head and isinstance(part, torch.nn.Linear):
            linears.append((name, part.in_features, part.out_features))
        elif isinstance(part, Conv1D):  # GPT-2's linear layers, the other way round
            linears.append((name, int(part.nx), int(part.nf)))
    text = config.get_text_config()
    return Shape(
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        n_linear=sum(inputs * outputs for _, inputs, outputs in linears),
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        linears=tuple(linears),
        context=getattr(text, "max_position_embeddings", None),
    )
