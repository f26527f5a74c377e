"""Filter passages by measured signals; each drop has its rule, figure and reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.passages.signals import Signals, measure, quote_style
from memoirist.data.schema.records import Fault, Passage, SourceKind, Verdict
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.language_rules import gate_values
from memoirist.data.text.sanitizer import has_control

_WRITTEN = frozenset({"book", "text"})
_LIMITS = "the limits stand under [curate.gates] in the recipe"
_NEXT = {
    "language": "name the persona's language with --lang, or take the source out of this workspace",
    "quoted": "raise curate.gates.max_quoted_share to keep passages of dialogue",
}


class GateSettings(BaseModel):
    """The measured ranges of real prose and speech; a passage outside them is dropped.

    The figures come from 16 public-domain books and 4,000 podcast turns (QUALITY, "Passages"), all
    English. Limits of other languages stand in data/text/languages, and the recipe wins over both.
    """

    model_config = ConfigDict(extra="forbid")

    min_stop_share: float = Field(0.22, description="Share of function words; an index has none.")
    min_zlib_ratio: float = Field(0.42, description="Lower is repetition: contents, lists.")
    max_zlib_ratio: float = Field(0.68, description="Higher is noise: names, codes, addresses.")
    min_letter_share: float = Field(0.68, description="Letters among all characters.")
    max_digit_share: float = Field(0.04, description="Digits among all characters.")
    min_type_token: float = Field(0.35, description="Different words among all words.")
    max_quoted_share: float = Field(0.5, description="Characters in quotation marks (books).")
    max_repeated_share: float = Field(0.15, description="Words inside a repeated run of five.")
    max_upper_share: float = Field(
        0.12, description="Capitals among letters; flagged, not dropped."
    )
    min_sentence_words: float = Field(4, description="Mean words a sentence; flagged only.")
    max_sentence_words: float = Field(80, description="Mean words a sentence; flagged only.")
    signal_words: int = Field(
        80, description="A shorter passage is not judged by ratios: they need some text."
    )


def of_language(settings: GateSettings, lang: str) -> GateSettings:
    """Return the limits for a language, its own wherever the recipe sets no value."""
    own = gate_values(lang)
    update = {key: value for key, value in own.items() if key not in settings.model_fields_set}
    return settings.model_copy(update=update)


def gate(
    passages: Sequence[Passage],
    kind: SourceKind,
    lang: str,
    settings: GateSettings,
    now: datetime,
) -> list[Verdict]:
    """Return the verdicts of one source's passages: at most one drop each, and flags.

    `lang` is the persona's language. Exchanges of a dataset are dropped only for faults that harm
    the training, because short replies are normal there.
    """
    verdicts: list[Verdict] = []
    settings = of_language(settings, lang)
    style = quote_style((p.text for p in passages), lang) if kind in _WRITTEN else None
    for passage in passages:
        fault: _Finding | None = None
        flags: list[_Finding] = []
        if has_control(passage.text):
            flags.append(_CONTROL)
        if not passage.text.strip():
            fault = "empty", 0.0, "it has no text"
        elif kind != "dataset":
            signals = measure(passage.text, lang, style)
            fault = _language(passage, lang) or _outside(signals, kind, settings)
            flags += _flags(signals, settings)
        verdicts += [_verdict(passage, flag, now, keep=True) for flag in flags]
        if fault is not None:
            verdicts.append(_verdict(passage, fault, now, keep=False))
    return verdicts


# A rule, the measured figure, and the reason.
_Finding = tuple[str, float | None, str]
_CONTROL: _Finding = (
    "flag_control",
    None,
    "chat control tokens, made harmless in every prompt",
)


def _language(passage: Passage, lang: str) -> _Finding | None:
    detected = detect_language(passage.text)
    if detected in {lang, "und"} or lang == "und":
        return None
    return "language", None, f"it reads as {detected!r} and the persona speaks {lang!r}"


def _outside(signals: Signals, kind: SourceKind, settings: GateSettings) -> _Finding | None:
    if signals.n_words < settings.signal_words:
        return None
    quoted = signals.quoted_share if kind in _WRITTEN else None
    repeated = signals.repeated_share
    # The rule, the measured value, its limit, and what is above or below the limit.
    checks: tuple[tuple[str, float | None, float, str], ...] = (
        ("few_letters", signals.letter_share, settings.min_letter_share, "letters below"),
        ("digits", signals.digit_share, settings.max_digit_share, "digits above"),
        ("repetition", repeated, settings.max_repeated_share, "words in repeated runs above"),
        ("quoted", quoted, settings.max_quoted_share, "share of another's speech above"),
        ("few_stop_words", signals.stop_share, settings.min_stop_share, "function words below"),
        ("compressible", signals.zlib_ratio, settings.min_zlib_ratio, "zlib ratio below"),
        ("incompressible", signals.zlib_ratio, settings.max_zlib_ratio, "zlib ratio above"),
        ("few_types", signals.type_token, settings.min_type_token, "different words below"),
    )
    for rule, value, limit, reason in checks:
        if value is not None and (value < limit if reason.endswith("below") else value > limit):
            return rule, value, f"{reason} {limit}"
    return None


def _flags(signals: Signals, settings: GateSettings) -> list[_Finding]:
    flags: list[_Finding] = []
    if signals.upper_share > settings.max_upper_share:
        flags.append(("flag_upper", signals.upper_share, "many capitals"))
    if not settings.min_sentence_words <= signals.sentence_words <= settings.max_sentence_words:
        flags.append(("flag_sentences", signals.sentence_words, "sentences of unusual length"))
    return flags


def _verdict(passage: Passage, finding: _Finding, now: datetime, *, keep: bool) -> Verdict:
    rule, score, reason = finding
    if score is not None:
        score, reason = round(score, 4), f"{reason} ({score:.3f})"
    fault = Fault(rule, reason, "nothing" if keep else _NEXT.get(rule, _LIMITS), score)
    return fault.verdict("passages", passage.id, now, keep=keep)
