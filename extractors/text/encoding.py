"""Find a text's encoding: what is certain first, then the decoding that reads like writing."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from charset_normalizer import from_bytes

from memoirist.data.text.words import stop_words

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings that shift between sets within ASCII, by what opens the shift.
_SHIFTED = ((b"\x1b$", "iso2022_jp"), (b"~{", "hz"))
# In the order of trust where two of them read equally well.
_CANDIDATES = (
    *("cp1252", "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "cp1250", "iso8859_2"),
    *("cp1251", "koi8_r", "mac_roman", "iso8859_15", "cp1253", "cp1254", "cp850"),
)
_DECLARED = re.compile(
    r"character set encoding:\s*([\w-]+)|<meta[^>]+charset\s*=\s*[\"']?([\w-]+)"
    r"|<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")
_TYPOGRAPHIC = set("“”‘’‚„«»‹›–—…¿¡°·§£€•†‡©®™×½¼¾ªº²³¹ \u00ad")
_WESTERN = set("äöüßÄÖÜéèêëàâçùûîïôœæÉÈÀÇáíóúñÁÍÓÚÑãõøåØÅìòÆŒ")
_OTHER_LATIN = set("ąćęłńśźżĄĆĘŁŃŚŹŻěščřžýůďťňĚŠČŘŽőűŐŰășțşţğıİĞŞ")
# Words of one accented letter, and capitals in front of small letters as no word has them.
_LONE = set("àáéèóòúùíôêöåÀÁÉÈÓÒÚÙÍÔÊÖÅ")
_CAPITALS = re.compile(r"^[^\W\d_]{2}(?<=[A-ZÀ-Þ][A-Z])[a-z]")
# Signs that no language writes between two letters.
_SPLIT = re.compile(r"(?<=[^\W\d_])[¿¡³²¹¾½¼ª°º£§©®¤¦¬±«»„‚ˇ¸¨´¯](?=[^\W\d_])")
_FAR_WORD = re.compile(r"\S*[^\x00-\x7f]\S*")
_SAMPLE_BYTES = 60_000
_UNSURE_MARGIN = 0.12
_UNSURE_SCORE = 0.6
# UTF-8 bytes read as Windows-1252: "Ã©" for é, "â€™" for an apostrophe.
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨§ª«¢®´¼¶¤±³º­]|â€[™œ\x9d“”˜¦]|Â[ £©«»°§]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A text, the encoding it was taken for, and a doubt about it in words, None where sure."""

    text: str
    encoding: str
    doubt: str | None = None


def decode(content: bytes) -> Decoded:
    """Return the text of `content`; what is not certain says so in its `doubt`."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            rest = content[len(mark) :]
            return _whole(rest, name) or Decoded(
                text=rest.decode(name, "replace"), encoding=name, doubt=f"broken {name}"
            )
    if b"\x00" in content and (found := _wide(content)):
        return found
    for mark, name in _SHIFTED:
        if mark in content and content.isascii() and (found := _whole(content, name)):
            return found
    if found := _whole(content, "utf-8"):
        return _unscrambled(found)
    text = content.decode("utf-8", "replace")
    n_bad = text.count("\ufffd")
    if n_bad * 20 < sum(letter > "\x7f" for letter in text):
        return Decoded(text=text, encoding="utf-8", doubt=f"{n_bad} broken bytes in UTF-8")
    return _guessed(content)


def _whole(content: bytes, name: str) -> Decoded | None:
    try:
        return Decoded(text=content.decode(name), encoding=name)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide(content: bytes) -> Decoded | None:
    """Return the reading as UTF-16 or UTF-32 without a mark: only these write zero bytes."""
    names = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    found = [each for name in names if (each := _whole(content, name))]
    best = max(found, key=lambda each: _spoken(each.text), default=None)
    return best if best is not None and _spoken(best.text) > 0.5 else None


def _spoken(text: str) -> float:
    """Return how much of the start of a text is letters of ASCII or plausible ones beyond."""
    head = text[:4000]
    plain = sum(" " <= letter <= "~" or letter in "\r\n\t" for letter in head) / max(1, len(head))
    return plain + (1 - plain) * plausibility(head)


def _unscrambled(found: Decoded) -> Decoded:
    """Undo one round of UTF-8 read as Windows-1252, where it undoes wholly."""
    hits = len(_MOJIBAKE.findall(found.text))
    if hits < 3 or hits * 3 < sum(letter in "Ãâ" for letter in found.text):
        return found
    try:
        text = found.text.encode("cp1252").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return Decoded(
            text=found.text,
            encoding=found.encoding,
            doubt=f"{hits} places look like UTF-8 that was read as Windows-1252",
        )
    return Decoded(text=text, encoding=found.encoding, doubt="UTF-8 encoded twice; undone once")


def _guessed(content: bytes) -> Decoded:
    lines = [line for line in content.splitlines() if not line.isascii()]
    sample = b"\n".join(lines)[:_SAMPLE_BYTES]
    # A cut in the middle of a character would rule out every encoding of two bytes.
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    stated = _DECLARED.search(content[:4000].decode("ascii", "replace"))
    declared = next((each for each in stated.groups() if each), None) if stated else None
    names = list(_CANDIDATES)
    best = from_bytes(sample).best()
    if best is not None and (proposed := _python_name(best.encoding)) and proposed not in names:
        names.append(proposed)
    if declared and (known := _python_name(declared)):
        names = [known, *(name for name in names if name != known)]
    found = {name: read for name in names if (read := _whole(sample, name))}
    ranked = sorted(found, key=lambda name: -plausibility(found[name].text))
    if not ranked:
        return Decoded(
            text=content.decode("cp1252", "replace"), encoding="cp1252", doubt="no encoding fits"
        )
    name = ranked[0]
    score = plausibility(found[name].text)
    whole = _whole(content, name) or Decoded(text=content.decode(name, "replace"), encoding=name)
    rivals = [other for other in ranked[1:] if _near(found[name].text, found[other].text)]
    doubt = None
    if score < _UNSURE_SCORE:
        doubt = f"it reads like no writing that is known (plausibility {score:.2f})"
    elif rivals and not (declared and name == _python_name(declared)):
        doubt = f"{rivals[0]} fits about as well"
    return Decoded(text=whole.text, encoding=name, doubt=doubt)


def _near(text: str, other: str) -> bool:
    """Tell whether two readings differ, and where they do, read about equally well."""
    if text == other:
        return False
    if len(text) == len(other):
        pairs = [
            (a, b)
            for a, b in zip(_FAR_WORD.findall(text), _FAR_WORD.findall(other), strict=False)
            if a != b
        ]
        text, other = (
            (" ".join(each) for each in zip(*pairs, strict=True)) if pairs else (text, other)
        )
    return plausibility(text) - plausibility(other) < _UNSURE_MARGIN


def _python_name(name: str) -> str | None:
    """Return Python's name; Windows-1252 for ISO-8859-1, which is what such files really hold."""
    try:
        known = codecs.lookup(name).name
    except LookupError:
        return None
    aliases = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
    aliases |= {"big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
    return None if known == "utf-8" else aliases.get(known, known)


def plausibility(text: str) -> float:
    """Return how much the characters beyond ASCII read like writing, at most 1.

    A word in one script and one case counts for it, its common letters most; mixed scripts,
    capitals inside words, control characters and rare signs count against it.
    """
    far = [letter for letter in text if letter > "\x7f"]
    if not far:
        return 1.0
    total = sum(_sign(letter) for letter in far if not letter.isalpha())
    total -= 2 * len(_SPLIT.findall(text))
    for word in _WORD.findall(text):
        total += _word(word)
    return total / len(far)


def _sign(letter: str) -> float:
    if letter in _TYPOGRAPHIC or "\u3000" <= letter <= "\u3020" or "\uff01" <= letter <= "\uff65":
        return 0.8
    return -1.5 if unicodedata.category(letter) in {"Cc", "Co", "Cn", "Cs"} else -0.5


def _word(word: str) -> float:
    far = [letter for letter in word if letter > "\x7f"]
    if "\u3040" <= far[0] <= "\u30ff" or "\u3400" <= far[0] <= "\ud7af":
        return sum(_wide_letter(letter) for letter in far)
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in word}
    if len(scripts) > 1 or any(b.isupper() and a.islower() for a, b in pairwise(word)):
        return -1.0 * len(far)
    if scripts == {"LATIN"}:
        if (len(word) == 1 and word not in _LONE) or (len(word) > 2 and _CAPITALS.match(word)):
            return -0.5 * len(far)
        if len(word) > 3 and len(far) > 0.5 * len(word):
            return -0.5 * len(far)
        return sum(_latin_letter(letter) for letter in far)
    # A lone foreign letter is a Latin accent misread; Russian and Greek come in whole words,
    # and these in small letters mostly.
    if len(word) < 3:
        return 0.2 * len(far)
    return (0.5 if word.isupper() else 0.9) * len(far)


def _latin_letter(letter: str) -> float:
    if letter in _WESTERN:
        return 1.0
    return 0.8 if letter in _OTHER_LATIN else 0.4


def _wide_letter(letter: str) -> float:
    if "\u3040" <= letter <= "\u30ff":
        return 0.85
    if "\uac00" <= letter <= "\ud7af":
        return 0.95 if letter in _COMMON_HANGUL else 0.3
    if letter in stop_words("zh") or letter in _COMMON_HAN:
        return 1.0
    return 0.35 if "\u4e00" <= letter <= "\u9fff" else -0.5


_COMMON_HANGUL = frozenset(
    "이다는을가의에고하은지로한기도사리나어아서대시그를인해자수들라정일만게보스있것었과으네우전여주니안내저구상원"
    "부러장제조없면말왔던였려선생님람늘쓸뿐불렀각모음때문오무거간소바와년동두신방성"
)
# The characters that Chinese and Japanese prose uses most, simplified and traditional.
_COMMON_HAN = frozenset(
    "的一是不了人我在有他这為为之大来來以个個中上们們到说說国國和地也子时時道出而要于於就下得可你年生自会會"
    "那后後能对對着著事其里裡所去行过過家十用发發天如然作方成者多日都三小军軍二无無同么麼经經法当當起与與好看"
    "学學进進种種将將还還分此心前面又定见見只主没沒公从從日本東京私今思言手話時間気"
)
