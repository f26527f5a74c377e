"""Find the persona among the speakers of a transcript, and rename labels by the user's mapping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import PurePath

from memoirist.data.schema.records import Block
from memoirist.data.text.language_rules import fold, name_words
from memoirist.data.text.words import count_words, simplified

# The name of a turn without a speaker in messages and in a mapping.
UNNAMED = "(unnamed)"
# The label of the owner's messages in exports of chats that give the owner no name.
ME = "Me"
_TITLES = frozenset(name_words("speaker_titles"))
_HAN_TITLES = re.compile(r"(?<=.)(?:老师|老師|先生|女士|教授|博士|主任|医生|醫生)$")
_GENERIC = re.compile(
    rf"^(?:{'|'.join(name_words('unknown_speakers'))})[\s_#.-]*(?:\d+|[a-z])?$", re.IGNORECASE
)


def find_persona(blocks: Sequence[Block], names: Sequence[str]) -> str | None:
    """Return the speaker who is the persona: by full name, else by all words of the shorter name.

    Titles, case, accents, order ("Marrow, Ada"), traditional or simplified characters and text in
    brackets do not matter. "Ada" and "A. Marrow" both match "Ada Marrow" when no other speaker
    matches; a label such as SPEAKER_00 matches only itself.
    """
    return find_name([block.speaker for block in blocks if block.speaker], names)


def find_name(labels: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the label that is one of the names, by the rules of `find_persona`."""
    speakers = list(dict.fromkeys(labels))
    for speaker in speakers:
        if is_called(speaker, names):
            return speaker
    wanted = [_name_words(name) for name in names]
    similar = [
        speaker
        for speaker in speakers
        if not _GENERIC.match(speaker)
        and any(_similar(form, name) for form in _forms(speaker) for name in wanted)
    ]
    return similar[0] if len(similar) == 1 else None


def is_called(speaker: str, names: Sequence[str]) -> bool:
    """Tell whether a speaker's label is one of the names in full."""
    forms = [sorted(form) for form in _forms(speaker)]
    joined = "".join(_name_words(speaker))
    return any(
        words and (sorted(words) in forms or (len(words) > 1 and "".join(words) == joined))
        for words in map(_name_words, names)
    )


def _forms(speaker: str) -> Iterator[list[str]]:
    """Yield the names that a label may hold: "Rook (Ada Marrow)", "Ada | ACME", "Ada, MD"."""
    # The id of an account tells it from others of its name: "Ada (user44)".
    bare = re.sub(r"[(\[](?!(?:user|channel)\d+\))[^()\[\]]*[)\]]", " ", speaker)
    inside = re.findall(r"[(\[]([^()\[\]]*)[)\]]", speaker)
    parts = re.split(r"\s*[|/,]\s*|\s+[-–—]\s+", bare)
    for form in dict.fromkeys([speaker, bare, *parts, *inside]):
        if words := _name_words(form):
            yield words


def _name_words(name: str) -> list[str]:
    words = re.findall(r"\w+", fold(simplified(name)))
    words = [_HAN_TITLES.sub("", word) for word in words]
    return [word for word in words if word not in _TITLES] or words


def _similar(first: Sequence[str], second: Sequence[str]) -> bool:
    shorter, longer = sorted((list(first), list(second)), key=len)
    matched = [
        any(
            word == other or (min(len(word), len(other)) == 1 and word[0] == other[0])
            for other in longer
        )
        for word in shorter
    ]
    return bool(matched) and all(matched) and any(len(word) > 1 for word in shorter)


def mapping_of(speakers: Mapping[str, str], location: str) -> dict[str, str]:
    """Return the label -> name mapping that holds for one file, labels in lower case.

    A key is a label, or "FILE:LABEL" for the file of that name or pattern, which goes first.
    """
    name = PurePath(location).name
    general: dict[str, str] = {}
    of_file: dict[str, str] = {}
    for key, value in speakers.items():
        file, colon, label = key.rpartition(":")
        if colon and (fnmatch(name, file) or fnmatch(location, file)):
            of_file[_label_key(label)] = value
        else:
            general[_label_key(key)] = value
    return general | of_file


def _label_key(label: str) -> str:
    return " ".join(label.split()).casefold()


def renamed(
    blocks: Sequence[Block], mapping: Mapping[str, str], names: Sequence[str]
) -> list[Block]:
    """Map the labels of the blocks, and replace every full name of the persona by the first.

    So a person with two names in one transcript becomes one speaker.
    """
    renames: dict[str | None, str | None] = {}
    for block in blocks:
        if block.speaker not in renames:
            label = mapping.get(_label_key(block.speaker or UNNAMED), block.speaker)
            renames[block.speaker] = names[0] if label and is_called(label, names) else label
    return [
        block
        if (block.kind != "turn" and block.speaker is None)
        or renames[block.speaker] == block.speaker
        else replace(block, speaker=renames[block.speaker])
        for block in blocks
    ]


def speaker_shares(blocks: Sequence[Block]) -> str:
    """Describe who speaks how much of a document, for the message that asks for a mapping."""
    spoken: Counter[str] = Counter()
    for block in blocks:
        if block.kind == "turn":
            spoken[block.speaker or UNNAMED] += count_words(block.text)
    total = sum(spoken.values()) or 1
    shares = [f"{name} {100 * n // total} %" for name, n in spoken.most_common(8)]
    more = len(spoken) - len(shares)
    return ", ".join(shares) + (f" and {more} more" if more > 0 else "")
