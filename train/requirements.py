"""What a training needs of base and machine, checked from the base's configuration beforehand."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.model.prepared_base import TINY, first_line, readable, unreachable
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
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
        return [linear for linear in self.linears if f".{linear[0]}".endswith(ends)]


def shape_of(base_model: str) -> BaseShape:
    """Return the shape of `tiny`, a folder or a hub id, without loading or fetching a weight.

    Raises TrainError when there is no such configuration, or no network to fetch config.json.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    from memoirist.train.model.model_loader import quiet

    quiet()
    folder = TINY if base_model == "tiny" else Path(base_model).expanduser()
    with readable(base_model):
        # Asked once whether the hub answers: its own way to find out takes a minute.
        config = AutoConfig.from_pretrained(
            str(folder) if folder.is_dir() else base_model,
            trust_remote_code=False,
            local_files_only=not folder.is_dir() and unreachable(base_model),
        )
        # The module tree without its numbers: exact for every family, and no formula to maintain.
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = []
    for name, part in model.named_modules():
        if part is not head and isinstance(part, torch.nn.Linear):
            linears.append((name, part.in_features, part.out_features))
        elif isinstance(part, Conv1D):  # GPT-2's linear layers, transposed
            linears.append((name, int(part.nx), int(part.nf)))
    text = config.get_text_config()
    return BaseShape(
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        n_linear=sum(inputs * outputs for _, inputs, outputs in linears),
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        linears=tuple(linears),
        context=getattr(text, "max_position_embeddings", None),
    )


def refuse_missing(settings: TrainSettings) -> None:
    """Raise TrainError for a tracker or an attention kernel that is not installed."""
    tracker = settings.tracker
    modules = ("tensorboard", "tensorboardX") if tracker == "tensorboard" else (tracker,)
    if tracker != "none" and not any(find_spec(module) for module in modules):
        raise TrainError(
            f"train.tracker = {tracker!r} needs a library that is not installed",
            f"`pip install {tracker}`, or leave train.tracker out",
        )
    if settings.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        raise TrainError(
            "train.attention = 'flash_attention_2' needs flash-attn, which is not installed",
            "`pip install flash-attn --no-build-isolation` on a machine with CUDA, or take sdpa",
        )


def refuse_unfit(shape: BaseShape, settings: TrainSettings, longest: int = 0) -> None:
    """Raise TrainError for layers that a base lacks, and for rows beyond its context.

    `longest` is the longest row in tokens, 0 while it is unknown.
    """
    settings = settings.resolved()
    if settings.target_modules != "all-linear":
        missing = [name for name in settings.target_modules if not shape.adapted([name])]
        if missing:
            # The last words of the layers' paths, each once, in their order.
            known = dict.fromkeys(name.rsplit(".", 1)[-1] for name, *_ in shape.linears)
            raise TrainError(
                f"train.target_modules names {', '.join(map(repr, missing))}, which"
                f" {settings.base_model!r} does not have",
                f"take some of {', '.join(known)}, or all-linear",
            )
    if shape.context is not None and longest > shape.context:
        raise TrainError(
            f"train.max_length = {settings.max_length} lets rows of {longest} tokens through, and"
            f" {settings.base_model!r} holds {shape.context}",
            f"--set train.max_length={shape.context}",
        )


@contextmanager
def fitting() -> Iterator[None]:
    """Turn what the libraries raise for settings that a base cannot satisfy into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, NotImplementedError, ImportError) as error:
        traceback.print_exc()
        raise TrainError(
            f"the base cannot be trained with these settings ({first_line(error)})",
            "change the setting of [train] that this is about",
        ) from error


def tracked(settings: TrainSettings, folder: Path) -> str:
    """Return the tracker by transformers' name, and direct its files into the run's folder.

    What the user has set in the environment stays.
    """
    places = {
        "TENSORBOARD_LOGGING_DIR": folder / "tracker",
        "WANDB_DIR": folder,
        "TRACKIO_DIR": folder / "tracker",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder.resolve() / 'mlflow.db'}",
    }
    for name, place in places.items():
        os.environ.setdefault(name, str(place))
    return settings.tracker
