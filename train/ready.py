"""Whether this machine has what the settings of a training ask for, told before it starts."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from data.errors import TrainError
from train.settings import TrainSettings

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
