"""Decode a text in the encoding that is certain, else in the one that reads most like writing."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass, replace
from itertools import pairwise

from charset_normalizer import from_bytes

from memoirist.data.text.words import stop_words
from memoirist.extractors.word_tables import table

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings within ASCII that shift between character sets, by their first shift.
_SHIFT_ENCODINGS = ((b"\x1b$", "iso2022_jp"), (b"~{", "hz"))
_TABLE = table("encoding")
_CANDIDATES = _TABLE["candidates"].split()
_DECLARED = re.compile(
    r"character set encoding:\s*([\w-]+)|<meta[^>]+charset\s*=\s*[\"']?([\w-]+)"
    r"|<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)",
    re.IGNORECASE,
)
_NON_ASCII_WORD = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")
_TYPOGRAPHIC, _WESTERN, _OTHER_LATIN, _LETTER_WORDS, _COMMON_HANGUL, _COMMON_HAN = (
    frozenset("".join(_TABLE[key].split("\n")))
    for key in (
        *("typographic", "western", "other_latin", "letter_words", "common_hangul", "common_han"),
    )
)
# Two capitals before small letters, which no word has.
_TWO_CAPITALS = re.compile(r"^[^\W\d_]{2}(?<=[A-ZÀ-Þ][A-Z])[a-z]")
# Signs that stand between two letters in no language.
_INNER_SIGN = re.compile(r"(?<=[^\W\d_])[¿¡³²¹¾½¼ª°º£§©®¤¦¬±«»„‚ˇ¸¨´¯](?=[^\W\d_])")
_NON_ASCII_RUN = re.compile(r"\S*[^\x00-\x7f]\S*")
_SAMPLE_BYTES = 60_000
_UNSURE_MARGIN = 0.12
_UNSURE_SCORE = 0.6
# UTF-8 bytes read as Windows-1252: "Ã©" for é, "â€™" for an apostrophe.
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨§ª«¢®´¼¶¤±³º­]|â€[™œ\x9d“”˜¦]|Â[ £©«»°§]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A text, the encoding it is taken for, and the doubt about it in words, None if certain."""

    text: str
    encoding: str
    doubt: str | None = None


def decode(content: bytes) -> Decoded:
    """Return the text of `content`; what is not certain says so in its `doubt`."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            rest = content[len(mark) :]
            return _decode_strictly(rest, encoding) or Decoded(
                text=rest.decode(encoding, "replace"),
                encoding=encoding,
                doubt=f"not valid {encoding}",
            )
    if b"\x00" in content and (decoded := _decode_wide(content)):
        return decoded
    for shift, encoding in _SHIFT_ENCODINGS:
        is_shifted = shift in content and content.isascii()
        if is_shifted and (decoded := _decode_strictly(content, encoding)):
            return decoded
    if decoded := _decode_strictly(content, "utf-8"):
        return _repair_mojibake(decoded)
    text = content.decode("utf-8", "replace")
    n_bad = text.count("\ufffd")
    if n_bad * 20 < sum(letter > "\x7f" for letter in text):
        return Decoded(text=text, encoding="utf-8", doubt=f"{n_bad} invalid bytes in UTF-8")
    return _guess(content)


def unix_lines(text: str) -> str:
    """Return the text with a line feed alone at the end of each line."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_strictly(content: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(text=content.decode(encoding), encoding=encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _decode_wide(content: bytes) -> Decoded | None:
    """Decode UTF-16 or UTF-32 without a byte order mark: no other encoding writes zero bytes."""
    encodings = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    candidates = [d for encoding in encodings if (d := _decode_strictly(content, encoding))]
    best = max(candidates, key=lambda decoded: _readability(decoded.text), default=None)
    return best if best is not None and _readability(best.text) > 0.5 else None


def _readability(text: str) -> float:
    """Return how much of the start of a text is ASCII letters or plausible ones beyond ASCII."""
    head = text[:4000]
    ascii_share = sum(" " <= c <= "~" or c in "\r\n\t" for c in head) / max(1, len(head))
    return ascii_share + (1 - ascii_share) * plausibility(head)


def _repair_mojibake(decoded: Decoded) -> Decoded:
    """Undo one round of UTF-8 read as Windows-1252, where all of it can be undone."""
    n_hits = len(_MOJIBAKE.findall(decoded.text))
    if n_hits < 3 or n_hits * 3 < sum(letter in "Ãâ" for letter in decoded.text):
        return decoded
    try:
        text = decoded.text.encode("cp1252").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        doubt = f"{n_hits} places look like UTF-8 that was read as Windows-1252"
        return replace(decoded, doubt=doubt)
    return replace(decoded, text=text, doubt="UTF-8 was encoded twice; decoded twice")


def _guess(content: bytes) -> Decoded:
    lines = [line for line in content.splitlines() if not line.isascii()]
    sample = b"\n".join(lines)[:_SAMPLE_BYTES]
    # A cut in the middle of a character would rule out every encoding of two bytes.
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    declared = _declared_encoding(content)
    best = from_bytes(sample).best()
    proposed = _python_name(best.encoding) if best is not None else None
    encodings = dict.fromkeys(filter(None, (declared, *_CANDIDATES, proposed)))
    texts = {
        encoding: decoded.text
        for encoding in encodings
        if (decoded := _decode_strictly(sample, encoding))
    }
    ranked = sorted(texts, key=lambda encoding: -plausibility(texts[encoding]))
    if not ranked:
        return Decoded(
            text=content.decode("cp1252", "replace"), encoding="cp1252", doubt="no encoding fits"
        )
    encoding = ranked[0]
    score = plausibility(texts[encoding])
    rivals = [other for other in ranked[1:] if _reads_as_well(texts[encoding], texts[other])]
    doubt = None
    if score < _UNSURE_SCORE:
        doubt = f"the result does not look like text (plausibility {score:.2f})"
    elif rivals and encoding != declared:
        doubt = f"{rivals[0]} is about as likely"
    decoded = _decode_strictly(content, encoding)
    text = decoded.text if decoded else content.decode(encoding, "replace")
    return Decoded(text=text, encoding=encoding, doubt=doubt)


def _declared_encoding(content: bytes) -> str | None:
    match = _DECLARED.search(content[:4000].decode("ascii", "replace"))
    name = next(filter(None, match.groups()), None) if match else None
    return _python_name(name) if name else None


def _reads_as_well(text: str, other: str) -> bool:
    """Tell whether two readings differ, and where they do, read about equally well."""
    if text == other:
        return False
    if len(text) == len(other):
        runs = zip(_NON_ASCII_RUN.findall(text), _NON_ASCII_RUN.findall(other), strict=False)
        pairs = [(a, b) for a, b in runs if a != b]
        if pairs:
            text, other = (" ".join(words) for words in zip(*pairs, strict=True))
    return plausibility(text) - plausibility(other) < _UNSURE_MARGIN


def _python_name(name: str) -> str | None:
    """Return Python's name of an encoding, None for UTF-8 and unknown ones."""
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        return None
    return None if codec == "utf-8" else _TABLE["aliases"].get(codec, codec)


def plausibility(text: str) -> float:
    """Return how much the characters beyond ASCII read like writing, at most 1.

    A word in one script and one case counts for it, its common letters most; mixed scripts,
    capitals inside words, control characters and rare signs count against it.
    """
    characters = [character for character in text if character > "\x7f"]
    if not characters:
        return 1.0
    total = sum(_sign_score(character) for character in characters if not character.isalpha())
    total -= 2 * len(_INNER_SIGN.findall(text))
    total += sum(map(_word_score, _NON_ASCII_WORD.findall(text)))
    return total / len(characters)


def _sign_score(sign: str) -> float:
    if sign in _TYPOGRAPHIC or "\u3000" <= sign <= "\u3020" or "\uff01" <= sign <= "\uff65":
        return 0.8
    return -1.5 if unicodedata.category(sign) in {"Cc", "Co", "Cn", "Cs"} else -0.5


def _word_score(word: str) -> float:
    letters = [letter for letter in word if letter > "\x7f"]
    if "\u3040" <= letters[0] <= "\u30ff" or "\u3400" <= letters[0] <= "\ud7af":
        return sum(map(_cjk_score, letters))
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in word}
    if len(scripts) > 1 or any(b.isupper() and a.islower() for a, b in pairwise(word)):
        return -1.0 * len(letters)
    if scripts == {"LATIN"}:
        if (len(word) == 1 and word not in _LETTER_WORDS) or _TWO_CAPITALS.match(word):
            return -0.5 * len(letters)
        if len(word) > 3 and len(letters) > 0.5 * len(word):
            return -0.5 * len(letters)
        return sum(map(_latin_score, letters))
    # A single foreign letter is a Latin accent misread; Russian and Greek come in whole words,
    # mostly of small letters.
    if len(word) < 3:
        return 0.2 * len(letters)
    return (0.5 if word.isupper() else 0.9) * len(letters)


def _latin_score(letter: str) -> float:
    if letter in _WESTERN:
        return 1.0
    return 0.8 if letter in _OTHER_LATIN else 0.4


def _cjk_score(letter: str) -> float:
    if "\u3040" <= letter <= "\u30ff":
        return 0.85
    if "\uac00" <= letter <= "\ud7af":
        return 0.95 if letter in _COMMON_HANGUL else 0.3
    if letter in stop_words("zh") or letter in _COMMON_HAN:
        return 1.0
    return 0.35 if "\u4e00" <= letter <= "\u9fff" else -0.5
