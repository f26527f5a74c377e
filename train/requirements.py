"""Whether machine and base have what the settings of a training ask for, told before it starts."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import TrainError
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from memoirist.train.shape import Shape

# Any one of the modules is enough; the package is what pip calls the first.
_TRACKERS = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}


def refuse_missing(settings: TrainSettings) -> None:
    """Raise TrainError for a tracker or an attention kernel that is not installed."""
    modules = _TRACKERS.get(settings.tracker, ())
    if modules and not any(find_spec(module) for module in modules):
        raise TrainError(
            f"train.tracker = {settings.tracker!r} needs a library that is not installed",
            f"`pip install {modules[0]}`, or leave train.tracker out",
        )
    if settings.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        raise TrainError(
            "train.attention = 'flash_attention_2' needs flash-attn, which is not installed",
            "`pip install flash-attn --no-build-isolation` on a machine with CUDA, or take sdpa",
        )


def refuse_unfit(shape: Shape, settings: TrainSettings, longest: int = 0) -> None:
    """Raise TrainError for layers that a base lacks, and for rows beyond its context.

    `longest` is the longest row in tokens, 0 while nobody knows.
    """
    settings = settings.resolved()
    if settings.target_modules != "all-linear":
        missing = [name for name in settings.target_modules if not shape.adapted([name])]
        if missing:
            told = ", ".join(map(repr, missing))
            raise TrainError(
                f"train.target_modules names {told}, which {settings.base_model!r} does not have",
                f"take some of {', '.join(shape.names)}, or all-linear",
            )
    if shape.context is not None and longest > shape.context:
        raise TrainError(
            f"train.max_length = {settings.max_length} lets rows of {longest} tokens through, and"
            f" {settings.base_model!r} holds {shape.context}",
            f"--set train.max_length={shape.context}",
        )


@contextmanager
def fitting() -> Iterator[None]:
    """Turn what the libraries say of settings that a base cannot satisfy into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, NotImplementedError, ImportError) as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise TrainError(
            f"the base cannot be trained with these settings ({reason})",
            "change the setting of [train] that this is about",
        ) from error


def tracked(settings: TrainSettings, folder: Path) -> str:
    """Return the tracker by transformers' name, with its files led into the run's folder.

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
