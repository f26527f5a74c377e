"""The gates: which passages may become answers, each drop with its rule, figure and reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.passages.signals import Signals, measure, quote_style
from memoirist.data.schema.records import Passage, SourceKind, Verdict
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.language_rules import gate_values
from memoirist.data.text.sanitizer import has_control
from memoirist.data.text.words import normalise

_WRITTEN = frozenset({"book", "text"})
_LIMITS = "the limits stand under [curate.gates] in the recipe"
_NEXT = {
    "language": "name the persona's language with --lang, or take the source out of this workspace",
    "quoted": "raise curate.gates.max_quoted_share to keep passages of dialogue",
}


class GateSettings(BaseModel):
    """The measured ranges of real prose and talk; outside them a passage is dropped.

    Source of the figures: 16 public-domain books and 4,000 podcast turns (QUALITY, "Passages"),
    all English; where another language's prose is known to differ, its own limits stand in
    data/languages, and what the recipe says wins over both.
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
    """Return the limits for a language: its own wherever the recipe does not say a value."""
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

    `lang` is the persona's language. Exchanges of a dataset are judged by what would harm the
    training alone, since a short reply is what such a row is meant to teach.
    """
    verdicts: list[Verdict] = []
    settings = of_language(settings, lang)
    style = quote_style((p.text for p in passages), lang) if kind in _WRITTEN else None
    for passage in passages:
        fault = _unsafe(passage)
        if has_control(passage.text):
            flag = ("flag_control", None, "chat control tokens, made harmless in every prompt")
            verdicts.append(_verdict(passage, flag, now, keep=True))
        if fault is None and kind != "dataset":
            signals = measure(passage.text, lang, style)
            fault = _language(passage, lang) or _outside(signals, kind, lang, settings)
            verdicts += [
                _verdict(passage, flag, now, keep=True) for flag in _flags(signals, settings)
            ]
        if fault is not None:
            verdicts.append(_verdict(passage, fault, now, keep=False))
    return verdicts


def duplicates(passages: Sequence[Passage], now: datetime) -> list[Verdict]:
    """Return a drop for every passage whose words, case and marks aside, another has before it.

    `passages` come in the order in which they win: the first of a kind is kept.
    """
    winners: dict[str, str] = {}
    verdicts: list[Verdict] = []
    for passage in passages:
        key = normalise(passage.text)
        # Equal answers of a dataset are equal exchanges only when the same is asked.
        winner = winners.setdefault(key, passage.id)
        if winner != passage.id:
            verdicts.append(
                Verdict(
                    subject_id=passage.id,
                    subject="passages",
                    rule="duplicate",
                    keep=False,
                    score=1.0,
                    reason="the same words, case and punctuation aside, stand in another passage",
                    beaten_by=winner,
                    created_at=now,
                    next_step=f"`memoirist look why {winner}` shows the one that was kept",
                )
            )
    return verdicts


_Fault = tuple[str, float | None, str]


def _unsafe(passage: Passage) -> _Fault | None:
    if not passage.text.strip():
        return "empty", 0.0, "it has no text"
    return None


def _language(passage: Passage, lang: str) -> _Fault | None:
    found = detect_language(passage.text)
    if found in {lang, "und"} or lang == "und":
        return None
    return "language", None, f"it reads as {found!r} and the persona speaks {lang!r}"


def _outside(
    signals: Signals, kind: SourceKind, lang: str, settings: GateSettings
) -> _Fault | None:
    if signals.n_words < settings.signal_words:
        return None
    # Measured, its lowest and highest value, the rule, and what is wrong outside of them.
    checks: tuple[tuple[float | None, float | None, float | None, str, str], ...] = (
        (signals.letter_share, settings.min_letter_share, None, "few_letters", "letters below"),
        (signals.digit_share, None, settings.max_digit_share, "digits", "digits above"),
        (
            signals.repeated_share,
            None,
            settings.max_repeated_share,
            "repetition",
            "words in repeated runs above",
        ),
        (
            signals.quoted_share if kind in _WRITTEN else None,
            None,
            settings.max_quoted_share,
            "quoted",
            "another's speech above",
        ),
        (
            signals.stop_share,
            settings.min_stop_share,
            None,
            "few_stop_words",
            "function words below",
        ),
        (signals.zlib_ratio, settings.min_zlib_ratio, None, "compressible", "zlib ratio below"),
        (signals.zlib_ratio, None, settings.max_zlib_ratio, "incompressible", "zlib ratio above"),
        (signals.type_token, settings.min_type_token, None, "few_types", "different words below"),
    )
    for value, low, high, rule, reason in checks:
        if value is not None and (
            (low is not None and value < low) or (high is not None and value > high)
        ):
            return rule, value, f"{reason} {high if low is None else low}"
    return None


def _flags(signals: Signals, settings: GateSettings) -> list[_Fault]:
    flags: list[_Fault] = []
    if signals.upper_share > settings.max_upper_share:
        flags.append(("flag_upper", signals.upper_share, "many capitals"))
    if not settings.min_sentence_words <= signals.sentence_words <= settings.max_sentence_words:
        flags.append(("flag_sentences", signals.sentence_words, "sentences of unusual length"))
    return flags


def _verdict(passage: Passage, fault: _Fault, now: datetime, *, keep: bool) -> Verdict:
    rule, score, reason = fault
    return Verdict(
        subject_id=passage.id,
        subject="passages",
        rule=rule,
        keep=keep,
        score=None if score is None else round(score, 4),
        reason=reason if score is None else f"{reason} ({score:.3f})",
        created_at=now,
        next_step="nothing" if keep else _NEXT.get(rule, _LIMITS),
    )
