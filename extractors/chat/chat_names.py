"""Put placeholders for the names and contacts of other people in a chat; the persona's own stay."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.language_rules import name_words
from memoirist.data.text.personal_data import mask
from memoirist.data.text.words import CJK, stop_words
from memoirist.data.transcripts.speakers import ME, find_name, is_called
from memoirist.extractors.chat.base import BadMessage, Chat, Message
from memoirist.extractors.word_tables import any_of

_TOKEN = re.compile(r"[^\W_]+")
_CJK_NAME = re.compile(rf"[{CJK}]{{2,}}")
_LINK = re.compile(rf"(?:https?://)?(?:www\.)?{any_of('chat', 'profiles')}/[^\s<>]+", re.IGNORECASE)
_HANDLE = re.compile(r"(?<![\w@/.])@(?!Person \d)[A-Za-z][\w.]{2,31}")
# As long as a telephone number of any country, which the plan of one country may not know.
_NUMBER = re.compile(r"(?<![\w.,])\+?\d(?:[ ().\-/\u2010\u2011]{0,2}\d){8,14}(?!\w)")
_SAMPLE_CHARS = 20_000


@dataclass(slots=True)
class Masked:
    """The chats with placeholders, and how much was masked."""

    chats: list[Chat]
    names: _Names
    lang: str
    n_contacts: Counter[str] = field(default_factory=Counter)

    @property
    def n_names(self) -> int:
        """The number of people whose names are masked."""
        return len(set(self.names.placeholders.values()))

    def mask(self, text: str) -> str:
        """Return a text with placeholders for contacts and for the names of others."""
        text, counts = mask(text, self.lang)
        self.n_contacts.update(counts)
        for pattern, kind in ((_LINK, "link"), (_NUMBER, "phone")):
            text, n = pattern.subn(f"[{kind}]", text)
            self.n_contacts.update({kind: n} if n else {})
        text, n = _HANDLE.subn("[handle]", self.names.mask(text))
        self.n_contacts.update({"handle": n} if n else {})
        return text


def masked_chats(chats: Sequence[Chat], own_names: Sequence[str]) -> Masked:
    """Return the chats of an export without other people's names and contacts.

    Senders become "Person 1", "Person 2" and so on in the order in which they first write, the same
    in all chats of the export; where their names stand in messages, whole or in part, so do these.
    """
    labels = list(dict.fromkeys(m.sender for c in chats for m in c.messages if m.sender))
    own = find_name(labels, own_names) if own_names else None
    mine = {label for label in labels if label in {own, ME} or is_called(label, own_names)}
    others = [label for label in labels if label not in mine]
    people = [name for chat in chats for name in chat.people if not is_called(name, own_names)]
    sample = "\n".join(m.text for chat in chats for m in chat.messages[:500] if not m.rule)
    lang = detect_language(sample[:_SAMPLE_CHARS]) or "und"
    names = _Names([*others, *people], [*mine, *own_names])
    result = Masked(chats=[], names=names, lang=lang)
    for chat in chats:
        masked = [_masked(message, result) for message in chat.messages]
        name = result.mask(chat.name) if chat.name else None
        bad = [BadMessage(fault.where, result.mask(fault.reason)) for fault in chat.bad]
        result.chats.append(replace(chat, name=name, messages=masked, bad=bad, people=()))
    return result


def _masked(message: Message, result: Masked) -> Message:
    sender = result.names.placeholders.get(message.sender or "", message.sender)
    return replace(message, sender=sender, text=result.mask(message.text))


class _Names:
    """The names of people with their placeholders, found in texts by their words."""

    def __init__(self, names: Iterable[str], own: Iterable[str]) -> None:
        self.placeholders: dict[str, str] = {}
        self._by_first: dict[str, list[tuple[tuple[str, ...], str, bool]]] = defaultdict(list)
        self._own = {word for name in own for word in _words(name)} - {ME.casefold()}
        self._han: dict[str, str] = {}
        numbers: dict[str, int] = {}
        for name in names:
            number = numbers.setdefault(name.casefold(), len(numbers) + 1)
            self.placeholders.setdefault(name, f"Person {number}")
        for name, placeholder in self.placeholders.items():
            self._add(name, placeholder)
        for forms in self._by_first.values():
            forms.sort(key=lambda form: -len(form[0]))
        longest_first = sorted(self._han, key=len, reverse=True)
        self._han_pattern = re.compile("|".join(map(re.escape, longest_first)))

    def _add(self, name: str, placeholder: str) -> None:
        words = _words(name)
        ordinary = _ordinary_words()
        if len(words) > 1:
            self._by_first[words[0]].append((tuple(words), placeholder, False))
        titles = set(name_words("speaker_titles"))
        for word in _TOKEN.findall(name):
            folded = word.casefold()
            is_name = len(word) > 1 and not word.isdigit() and not word[0].islower()
            if (is_name or len(words) == 1) and folded not in self._own | titles:
                self._by_first[folded].append(((folded,), placeholder, folded in ordinary))
        for han in _CJK_NAME.findall(name):
            if not any(han in own or own in han for own in self._own):
                self._han.setdefault(han, placeholder)
                # Friends leave the family name out.
                if len(han) == 3:
                    self._han.setdefault(han[1:], placeholder)

    def mask(self, text: str) -> str:
        """Return a text with a placeholder for each name."""
        if self._han:
            text = self._han_pattern.sub(lambda match: self._han[match.group()], text)
        tokens = list(_TOKEN.finditer(text))
        parts: list[str] = []
        at = n = 0
        while n < len(tokens):
            found = self._at(tokens, n)
            if found is None:
                n += 1
                continue
            n_words, placeholder, n_kept = found
            parts += [text[at : tokens[n].start()], placeholder]
            at = tokens[n + n_words - 1].end() - n_kept
            n += n_words
        return "".join(parts) + text[at:] if parts else text

    def _at(self, tokens: Sequence[re.Match[str]], n: int) -> tuple[int, str, int] | None:
        """Return the placeholder of the name at a word, None for none.

        Before it stands how many words the name has, behind it how many letters stay: "the Reeds".
        """
        word = tokens[n].group()
        for words, placeholder, is_ordinary in self._by_first.get(word.casefold(), ()):
            run = tokens[n : n + len(words)]
            # "Will" is a name, "will" is none.
            if is_ordinary and word[0].islower():
                continue
            if tuple(token.group().casefold() for token in run) == words:
                return len(words), placeholder, 0
        stem = word[:-1].casefold() if word[-1] in "sS" else ""
        for words, placeholder, is_ordinary in self._by_first.get(stem, ()):
            if len(words) == 1 and not is_ordinary:
                return 1, placeholder, 1
        return None


def _words(name: str) -> list[str]:
    return [word.casefold() for word in _TOKEN.findall(name)]


def _ordinary_words() -> frozenset[str]:
    codes = ("en", "de", "fr", "es", "it", "nl", "pt")
    return frozenset(word for code in codes for word in stop_words(code))
