"""Chinese names in both scripts: 魯迅 and 鲁迅 are one person."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencc import OpenCC

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")


def has_han(text: str) -> bool:
    """Tell whether the text has a Han character."""
    return _HAN.search(text) is not None


def simplified(text: str) -> str:
    """Return Chinese in simplified characters, by OpenCC; other text as it is.

    To compare with, never to show or to learn: several traditional characters become one.
    """
    return _converter().convert(text) if has_han(text) else text


@cache
def _converter() -> OpenCC:
    # Loaded for Chinese names alone: everything else starts without it.
    from opencc import OpenCC

    return OpenCC("t2s")
