"""Words, sentences, languages, and the neutralising of what must never reach a chat model."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from data import language as languages

# Han, kana and Hangul: scripts that are counted by characters, not by spaces.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")
# The same where all is plain English, in two thirds of the time.
_PLAIN_WORD = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*")
_CJK = re.compile(rf"[{CJK}]")
# A sentence ends at a mark, closing quotes included (also the German ones, “ and «, and a French »
# behind its space); Latin marks need white space behind them.
_CLOSERS = r"(?:[\"'”’“»«›‹)\]]|[ \u00a0\u202f]»)*"
_SENTENCE_END = re.compile(rf"[.!?…]+{_CLOSERS}(?=\s|$)|[。！？…]+[”’」』）》】]*")
_TERMINAL = re.compile(rf"[.!?…。！？]{_CLOSERS}[」』）》】”’]*$")
_LONGEST_END_CHARS = 40
_SHORT_CHARS = 400
_TOKEN = re.compile(r"[^\s\"'“”„‚‘’«»‹›()\[\]—–]+$")
_NUMERAL = re.compile(r"\d{1,3}|[IVXLC]{1,6}")
# Every chat format seen in the wild, with the bars and brackets that a tokenizer may fold into the
# plain ones: ChatML, Qwen, Llama 2, 3 and 4, Mistral, Gemma, Phi, Zephyr, Command R, DeepSeek (wide
# bars), GPT-NeoX, GPT-OSS (harmony), Granite, Kimi, EXAONE, Hunyuan, MiniMax, Seed, GLM,
# Nemotron, Falcon, BERT's and T5's, and the headings of Alpaca. Upper case alone counts where the
# word stands in brackets in transcripts, too.
_CONTROL = re.compile(
    r"[<＜]\s*/?[|｜][^<>＜＞|｜\n]{1,40}[|｜]?\s*[>＞]|[<＜][^<>＜＞|｜\s]{1,40}[|｜]\s*[>＞]"
    r"|[<＜]\s*/?\s*(?:start_of_turn|end_of_turn|(?:start|end)_of_(?:image|audio)|(?:bos|eos|pad|unk|s"
    r"|mask|cls|sep)(?:_token)?|sop|eop|eo[ah]|think|tools?|tool_(?:calls?|response)|(?:start|end)_function_\w+"
    r"|system|user|assistant|unused_?\d+|extra_id_\d+|reserved_\d+|special_\d+|image_soft_token"
    r"|seed:[\w/]+|fim_\w+)\s*[>＞]"
    r"|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT"
    r"|MODEL_SETTINGS|CALL_ID|gMASK|sMASK)\s*\]"
    r"|\[\s*/?\s*(?-i:ARGS|IMG|IMG_BREAK|IMG_END|PREFIX|SUFFIX|MIDDLE|BEGIN_AUDIO|THINK|CLS|SEP|PAD"
    r"|UNK|MASK|BOS|EOS)\s*\]"
    r"|\[[|｜][^\[\]|｜\n]{1,40}[|｜]\]|\]~!?b[\[\]]|\[e~\["
    r"|<<\s*/?\s*SYS\s*>>|>>(?-i:QUESTION|ANSWER|INTRODUCTION|SUMMARY|COMMENT|DOMAIN|PREFIX)<<"
    r"|^[ \t]*\#{2,4}[ \t]*(?:Instructions?|Response|Input|System|User|Assistant|Human)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
# Without one of these there is no token.
_SIGNS = ("<", "[", "＜", "]~", ">>", "##")
_DEFUSED = str.maketrans("<>[]＜＞#", "‹›⟦⟧‹›＃")
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
# Letters that one of the languages alone has, or nearly so.
_LETTERS = {
    "de": re.compile(r"[ßäöü]"),
    "fr": re.compile(r"[çœêèàùâîû]|\b[dlnsjmtcDLNSJMTC]['’](?=[a-zéèêàâîûhœ]{3})"),
    "es": re.compile(r"[ñ]"),
    "pt": re.compile(r"[ãõ]"),
}
_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")


def words(text: str) -> list[str]:
    """Return the lower-cased words in order; each Han, kana or Hangul character is a word."""
    # A question is judged by a dozen rules, one after the other, and each wants its words.
    return list(_few_words(text)) if len(text) <= _SHORT_CHARS else _words_of(text)


@lru_cache(maxsize=64)
def _few_words(text: str) -> tuple[str, ...]:
    return tuple(_words_of(text))


def _words_of(text: str) -> list[str]:
    lowered = text.replace("’", "'").lower()
    if len(lowered) != len(text):  # a Turkish İ becomes two characters, and the second is no letter
        return [word.replace("’", "'").lower() for word in _WORD.findall(text)]
    return (_PLAIN_WORD if lowered.isascii() else _WORD).findall(lowered)


def count_words(text: str) -> int:
    """Count the words as `words` cuts them."""
    if len(text) <= _SHORT_CHARS:
        return len(_few_words(text))
    return len(_WORD.findall(text))


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Return each word as `words` cuts it, with its first character and the one behind it."""
    return [
        (match.group().replace("’", "'").lower(), match.start(), match.end())
        for match in _WORD.finditer(text)
    ]


def is_cjk(text: str) -> bool:
    """Tell whether at least a third of the letters are Han, kana or Hangul."""
    if text.isascii() or _CJK.search(text) is None:
        return False
    letters = sum(character.isalpha() for character in text)
    return letters > 0 and len(_CJK.findall(text)) * 3 >= letters


def sentences(text: str) -> list[str]:
    """Cut the text into sentences, closing quotes included.

    Abbreviations, initials and ordinals of English, German, French and Spanish ("z. B.", "Mme.",
    "3. Mai", "U. S. Grant") end none, and a number before its paragraph is no sentence.
    """
    found: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match.group() == "." and _goes_on(text, start, match.start()):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    rest = text[start:].strip()
    return [sentence for sentence in [*found, rest] if sentence]


def _goes_on(text: str, start: int, dot: int) -> bool:
    """Tell whether the full stop at `dot` belongs to its word and not to the sentence."""
    token = _TOKEN.search(text, max(start, dot - 24), dot)
    if token is None:
        return False
    word = token.group()
    never, maybe, ordinal = _abbreviations()
    behind = text[dot + 1 : dot + 40].split(maxsplit=1)
    following = behind[0] if behind else ""
    if word in never or (len(word) == 1 and word.isupper()):
        return True
    if _NUMERAL.fullmatch(word):
        alone = not text[start : token.start()].strip()
        return alone or following[:1].islower() or following.strip(".,;:") in ordinal
    capital = following.lstrip("\"'“„«»‘¿¡(")[:1].isupper()
    spaced = len(word) == 1 and word.isalpha()  # "z. B.", "d. h.", "p. m."
    return (word in maybe or "." in word or spaced) and (
        not capital or (spaced and len(following.rstrip(".,;:")) == 1 and following != "I")
    )


@cache
def _abbreviations() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return what never ends a sentence, what does before a capital, and what ordinals count."""
    tables = [languages.sentence_words(code) for code in languages.CODES]
    never, maybe, ordinal = (frozenset().union(*kind) for kind in zip(*tables, strict=True))
    return never, maybe, ordinal


def ends_sentence(text: str) -> bool:
    """Tell whether the text ends in terminal punctuation, closing quotes allowed behind it."""
    return _TERMINAL.search(text.rstrip()[-_LONGEST_END_CHARS:]) is not None


def has_control(text: str) -> bool:
    """Tell whether the text holds a control token of any chat format, however it is dressed."""
    visible = _INVISIBLE.sub("", text)
    return _has_sign(visible) and _CONTROL.search(visible) is not None


def neutralise(text: str) -> str:
    """Make chat control tokens and invisible characters harmless; other text stays as it is.

    Brackets and hashes of a control token become look-alikes ("<|im_end|>" to "‹|im_end|›"), so
    that a person still reads it and no tokenizer takes it for a token. Zero-width, bidirectional
    and control characters go; the joiners that Arabic and Indic scripts need (U+200C, U+200D) stay.
    """
    visible = _INVISIBLE.sub("", text)
    return _CONTROL.sub(_defuse, visible) if _has_sign(visible) else visible


def _has_sign(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def _defuse(match: re.Match[str]) -> str:
    return match.group().translate(_DEFUSED)


def normalise(text: str) -> str:
    """Return the words joined by spaces after NFKC: what exact duplicates are compared by."""
    return " ".join(words(unicodedata.normalize("NFKC", text)))


@cache
def stop_words(lang: str) -> frozenset[str]:
    """Return the language's most frequent function words, empty for a language without a list.

    English has 34 of them, by which real books show the shares that QUALITY's gate was measured
    with (median .39); for Chinese they are characters. "backchannel" names what a listener says
    to show that he listens, in several languages.
    """
    path = Path(__file__).parent / "stopwords" / f"{lang}.txt"
    return frozenset(path.read_text("utf-8").split()) if path.exists() else frozenset()


@cache
def _function_words(lang: str) -> frozenset[str]:
    """Return the stop words and the wider list of function words that carry no content."""
    path = Path(__file__).parent / "stopwords" / f"{lang}.more.txt"
    more = frozenset(path.read_text("utf-8").split()) if path.exists() else frozenset()
    return stop_words(lang) | more


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code by script, then by function words; "und" where neither decides.

    Chinese is "zh" in traditional and in simplified characters. Japanese has kana among its
    characters, a tenth of them and more; a few in a Chinese text (の, or marks of notes) are none.
    A word that several languages share counts for each of them in part.
    """
    sampled = text[:20_000]
    if is_cjk(sampled):
        characters = len(_CJK.findall(sampled))
        if len(_KANA.findall(sampled)) >= 0.1 * characters:
            return "ja"
        return "ko" if len(_HANGUL.findall(sampled)) >= 0.2 * characters else "zh"
    found = words(sampled)
    weights = _weights()
    scores: defaultdict[str, float] = defaultdict(float)
    hits: Counter[str] = Counter()
    for word in found:
        for lang, weight in weights.get(word, ()):
            scores[lang] += weight
            hits[lang] += 1
    for lang, letters in _LETTERS.items():
        scores[lang] += 0.5 * len(letters.findall(sampled))
    for mark, lang in (("¿", "es"), ("¡", "es")):
        scores[lang] += sampled.count(mark)
        hits[lang] += 2 * sampled.count(mark)
    best = max(_LANGUAGES, key=lambda lang: scores[lang])
    return best if hits[best] >= max(2.5, 0.08 * len(found)) else "und"


@cache
def _weights() -> dict[str, list[tuple[str, float]]]:
    """Return, for each function word, its languages and what one occurrence counts for each."""
    owners: dict[str, list[str]] = {}
    for lang in _LANGUAGES:
        for word in _function_words(lang):
            owners.setdefault(word, []).append(lang)
    return {w: [(lang, 1 / len(several)) for lang in several] for w, several in owners.items()}


def language_shares(text: str) -> dict[str, float]:
    """Return, for each language with a list of stop words, their share of the text's words."""
    found = words(text)
    total = max(1, len(found))
    return {lang: sum(map(stop_words(lang).__contains__, found)) / total for lang in _LANGUAGES}


@lru_cache(maxsize=65_536)
def stem(word: str, lang: str) -> str:
    """Cut the commonest endings off a word, enough to see that "asked" and "asking" are one."""
    if lang != "en" or len(word) < 5:
        return word if lang == "zh" or len(word) < 7 else word[:6]
    base = re.sub(r"'s?$", "", word)
    for ending in ("ingly", "edly", "ness", "ment", "ing", "ies", "ied", "ed", "es", "ly", "s"):
        if base.endswith(ending) and len(base) - len(ending) >= 3:
            base = base[: -len(ending)]
            break
    return base.rstrip("ey") or base


def content_stems(found: Sequence[str], lang: str) -> set[str]:
    """Return the stems of those words that carry content; character pairs for Chinese."""
    skipped = _function_words(lang)
    if lang == "zh":
        kept = [w for w in found if w not in skipped]
        return {a + b for a, b in itertools.pairwise(kept)} or set(kept)
    return {stem(w, lang) for w in set(found) - skipped if len(w) > 2}
