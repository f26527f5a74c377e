"""Mask keys, tokens and passwords, which stand in sources by accident and must not be learnt."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

_Span = tuple[int, int]
# What is written behind the name of a password: a letter and a digit at least, and no word.
_QUOTES = r"""[*_`"'“‘「]{0,3}"""
_VALUE = (
    rf"{_QUOTES}\s{{0,3}}(?:=>|[=:：]){_QUOTES}\s{{0,3}}{_QUOTES}"
    r"""(?=[^\s"'<>]*[0-9])(?=[^\s"'<>]*[^\W\d_])([^\s"'“”‘’「」`<>,;，；。]{6,200})"""
)
_VALUE_HINT = r"[^\n:=：]{0,6}[=:：]"
# Without a run like this, or a name, no text holds a secret; most texts hold neither.
_RUN = re.compile(r"[!-~]{16}|PRIVATE KEY")


@cache
def _rules() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of long runs, the whole secret or its group 1."""
    rules = _rules()
    prefixes = "|".join(map(re.escape, rules["prefixes"]))
    tokens = rf"(?<![A-Za-z0-9])(?:{prefixes}){rules['body']}"
    return tuple(re.compile(pattern) for pattern in (*_listed("pattern"), tokens))


@cache
def _named() -> re.Pattern[str]:
    """Return the pattern of a name with its value."""
    return re.compile(f"(?:{'|'.join(_rules()['names'])}){_VALUE}", re.IGNORECASE)


@cache
def secret_candidate() -> str:
    """Return in RE2's syntax what a text with a secret matches, and few others."""
    rules = _rules()
    prefixes = "|".join(map(re.escape, rules["prefixes"]))
    names = "|".join(rules["names"])
    tokens = f"(?:{prefixes}){rules['body_hint']}"
    return "|".join([*dict.fromkeys(_listed("hint")), tokens, f"(?i:{names}){_VALUE_HINT}"])


def _listed(key: str) -> list[str]:
    return [rule[key] for rule in _rules()["patterns"]]


def mask_secrets(text: str) -> tuple[str, Counter[str]]:
    """Return the text with keys, tokens and passwords replaced by "[secret]", and their count."""
    spans: list[_Span] = []
    if _RUN.search(text):
        spans += [span for pattern in _patterns() for span in _found(pattern, text)]
    lower = text.lower()
    if any(stem in lower for stem in _rules()["stems"]):
        spans += _found(_named(), text)
    if not spans:
        return text, Counter()
    merged = _merged(spans)
    for start, end in reversed(merged):
        text = f"{text[:start]}[secret]{text[end:]}"
    return text, Counter(secret=len(merged))


def _found(pattern: re.Pattern[str], text: str) -> list[_Span]:
    return [match.span(pattern.groups) for match in pattern.finditer(text)]


def _merged(spans: list[_Span]) -> list[_Span]:
    """Return the spans in order, those that overlap as one."""
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
