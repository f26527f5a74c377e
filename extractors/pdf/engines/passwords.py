"""The passwords that the user gave for locked files: in this process's memory and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable

# For a process that is started without a terminal, such as a deployment's.
VARIABLE = "MEMOIRIST_PASSWORD"

_GIVEN: list[str] = []


def remember(given: Iterable[str]) -> None:
    """Add passwords to those that are tried for every locked file, in the order given."""
    _GIVEN.extend(each for each in given if each and each not in _GIVEN)


def forget() -> None:
    """Drop all passwords."""
    _GIVEN.clear()


def passwords() -> tuple[str, ...]:
    """Return the passwords to try, the environment's last."""
    return tuple(dict.fromkeys([*_GIVEN, *filter(None, [os.environ.get(VARIABLE)])]))
