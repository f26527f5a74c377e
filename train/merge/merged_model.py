"""A merged model on disk: the figures of its comparison, and the settings it was made under."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memoirist.train.disk import read_json
from memoirist.train.settings import MergeSettings

# Written last: a folder without it is the rest of a merge that was killed.
MANIFEST = "merge.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """The merged model on disk and its comparison, by name; losses are nats a token.

    `alike` is false where the kept model differs from the trained model by some measure;
    `checked_in` is the type in which it was loaded for the comparison.
    """

    path: Path
    dtype: str
    way: str
    alike: bool
    checked_in: str
    figures: Mapping[str, float]

    @property
    def summary(self) -> str:
        """Return the most important figures in one line."""
        f = self.figures
        ties = f" and {f['ties']:.0f} differ at a tie" if f["ties"] else ""
        return (
            f"{self.way} base, {self.dtype}: {f['equal']:.0f} of {f['prompts']:.0f} greedy answers"
            f" equal those of base + adapter{ties}, KL {f['kl']:.1e}, loss {f['loss']:.3f}"
            f" (adapter {f['adapter_loss']:.3f}, base {f['base_loss']:.3f})"
        )


def read_merged(folder: Path) -> MergeResult:
    """Return the merge in `folder` with the figures of its comparison."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest.pop("settings", None)
    return MergeResult(path=folder, **manifest)


def merged_before(folder: Path, settings: MergeSettings) -> MergeResult | None:
    """Return the merge in `folder` if it is whole and was made under exactly these settings.

    Every setting decides: way and type directly, the rest by what the ways are compared on.
    """
    made_under = read_json(folder / MANIFEST).get("settings")
    return read_merged(folder) if made_under == settings.model_dump() else None
