"""Rewrite the safetensors files of a model weight by weight, holding one weight at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

INDEX = "model.safetensors.index.json"
# The format's own names (https://github.com/huggingface/safetensors, "Format").
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_FLOATS = {"F64", "F32", "BF16", "F16"}
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}

Change = Callable[[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One weight as it lies in a file."""

    file: str
    key: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def numbers(self) -> int:
        """Return how many numbers the weight has."""
        return math.prod(self.shape)


def weights_in(folder: Path) -> list[Held]:
    """Return all weights of a model by file, without reading them."""
    return [
        Held(
            file=path.name,
            key=key,
            shape=tuple(part.get_shape()),
            dtype=part.get_dtype(),
        )
        for path in sorted(folder.glob("*.safetensors"))
        for key, part in _slices(path)
    ]


def rewrite(source: Path, target: Path, change: Change, dtype: torch.dtype) -> int:
    """Write every weight of `source` to `target` as `change` returns it, in `dtype`.

    Files and keys stay the same; whole numbers keep their type. Returns the bytes written. What
    is held is one weight and what `change` makes of it.
    """
    total = 0
    for path in sorted(source.glob("*.safetensors")):
        total += _rewrite(path, target / path.name, change, dtype)
    index = source / INDEX
    if index.exists():
        told = json.loads(index.read_text("utf-8"))
        told["metadata"] = {**told.get("metadata", {}), "total_size": total}
        (target / INDEX).write_text(json.dumps(told, indent=2), encoding="utf-8")
    return total


def _slices(path: Path) -> Iterator[tuple[str, Any]]:
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            yield key, file.get_slice(key)


def _rewrite(source: Path, target: Path, change: Change, dtype: torch.dtype) -> int:
    held = [each for each in weights_in(source.parent) if each.file == source.name]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for each in held:
        kind = _NAMES[dtype] if each.dtype in _FLOATS else each.dtype
        end = at + each.numbers * _BYTES.get(kind, 1)
        header[each.key] = {"dtype": kind, "shape": list(each.shape), "data_offsets": [at, end]}
        at = end
    told = json.dumps(header, separators=(",", ":")).encode()
    # Readers map the file into memory: the numbers begin at a multiple of eight.
    told += b" " * (-len(told) % 8)
    with target.open("wb") as out:
        out.write(len(told).to_bytes(8, "little") + told)
        for each in held:
            # Opened for each weight: as long as it is open, what was read of it stays in memory.
            with safe_open(source, framework="pt") as file:
                weight = change(each.key, file.get_tensor(each.key))
            if weight.is_floating_point():
                weight = weight.to(dtype)
            flat = weight.contiguous().cpu().reshape(-1)
            flat.view(torch.uint8).numpy().tofile(out)
    return at
