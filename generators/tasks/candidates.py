"""The questions of one reply as candidates: which rule refuses each, and how well it suits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memoirist.data.curation.pair_score import score
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.question_filters import reject_question
from memoirist.data.schema.records import Candidate, Passage, Request, content_id
from memoirist.data.text.words import count_words, words
from memoirist.generators.prompts.prompt_templates import Brief, repeats_brief, write_brief
from memoirist.generators.tasks.cache_key import Query, judging_mark
from memoirist.generators.tasks.reply_parser import Reply, parse_reply

# What a question loses against another of its passage: little for its type, so that a better
# question of another type wins, and more for each class that its length is away.
_TYPE_LOSS = 0.02
_LENGTH_LOSS = 0.15


def opener(question: str) -> str:
    """Return the first two words, lower-cased."""
    return " ".join(words(question[:80])[:2])


def length_class(question: str, lang: str) -> int:
    """Return 1 for up to 8 words, 2 for 9-20, 3 for longer; a Chinese word has 1.6 characters."""
    n_words = count_words(question) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the questions of one passage are judged by; `names` are words never said."""

    passage: Passage
    names: frozenset[str]
    lang: str
    brief: Brief
    judging: CurateSettings


def persona_words(persona: str) -> frozenset[str]:
    """Return the words of a name by which a question would give it away: the last one."""
    named = [word for word in words(persona) if len(word) > 2]
    return frozenset(named[-1:])


def candidates(reply: Reply, key: str, wish: Wish) -> list[Candidate]:
    """Return every question of a reply with its score and, if a rule refuses it, that rule."""
    return [
        _candidate(place, suggestion.text, suggestion.type, key, wish)
        for place, suggestion in enumerate(reply.questions)
    ]


def _candidate(place: int, text: str, kind: str, key: str, wish: Wish) -> Candidate:
    soft = score(text, wish.passage.text, wish.lang, wish.judging.rejects)
    length = length_class(text, wish.lang)
    fault = _refusal(text, soft, wish)
    types: Sequence[str] = wish.brief.types
    rank = types.index(kind) if kind in types else len(types)
    loss = _TYPE_LOSS * rank + _LENGTH_LOSS * abs(length - wish.brief.length_class)
    return Candidate(
        id=content_id(key, place, text),
        key=key,
        ord=place,
        text=text,
        type=kind,
        length_class=length,
        opener=opener(text),
        score=round(soft - loss, 3),
        rule=fault[0] if fault else None,
        reason=fault[1] if fault else None,
    )


def _refusal(question: str, soft: float, wish: Wish) -> tuple[str, str] | None:
    named = wish.names.intersection(words(question))
    if named:
        return "question_names", f"it names the persona: {min(named)!r}"
    if repeats_brief(question, wish.brief):
        return "question_prompt", "it repeats the interviewer's instructions"
    fault = reject_question(question, wish.passage.text, wish.lang, wish.judging.rejects)
    least = wish.judging.min_score
    if fault is None and soft < least:
        return "low_score", f"soft score {soft} below {least}"
    return fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a passage got no question: the parts of its verdict."""

    rule: str
    reason: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The questions of one reply; `why` is set where none of them may be asked."""

    reply: Reply
    candidates: Sequence[Candidate]
    why: Why | None

    @property
    def best(self) -> Candidate | None:
        """Return the best question by itself; which are asked is chosen over all replies."""
        fit = [each for each in self.candidates if each.rule is None]
        return max(fit, key=lambda each: (each.score, -each.ord), default=None)


@dataclass(slots=True)
class Reader:
    """Reads replies for one persona by one set of rules."""

    persona: str
    judging: CurateSettings
    _names: frozenset[str] = field(init=False)
    _judged: str = field(init=False)

    def __post_init__(self) -> None:
        """Make what is alike for every reply."""
        self._names = persona_words(self.persona)
        self._judged = judging_mark(self.judging)

    def read(self, reply: Reply, query: Query, brief: Brief) -> Reading:
        """Judge every question of a reply."""
        why: Why | None
        if not reply.is_answer:
            why = Why(
                rule="not_an_answer",
                reason=f"the model says that it is no answer, confidence {reply.confidence:.2f}",
                next_step="look at the passage; if it is a good answer, name another --model",
            )
            return Reading(reply=reply, candidates=(), why=why)
        wish = Wish(
            passage=query.passage,
            names=self._names,
            lang=query.lang,
            brief=brief,
            judging=self.judging,
        )
        found = candidates(reply, query.key, wish)
        why = None if any(each.rule is None for each in found) else _all_refused(found)
        return Reading(reply=reply, candidates=found, why=why)

    def read_again(self, request: Request, query: Query) -> tuple[Request, Sequence[Candidate]]:
        """Judge a kept reply by the rules of today."""
        reply = parse_reply(request.reply or "")
        if isinstance(reply, str):
            why = Why(rule="unusable_reply", reason=reply, next_step="name another --model")
            return self.marked(request, None, why), ()
        brief = write_brief(query.passage, self.persona, query.lang, query.prompt)
        reading = self.read(reply, query, brief)
        return self.marked(request, reply, reading.why), reading.candidates

    def marked(self, request: Request, reply: Reply | None, why: Why | None) -> Request:
        """Return the request with what its reply comes to."""
        return replace(
            request,
            is_answer=reply.is_answer if reply else None,
            confidence=reply.confidence if reply else None,
            rule=why.rule if why else None,
            error=why.reason if why else None,
            next_step=why.next_step if why else None,
            judged=self._judged,
        )


def _all_refused(found: Sequence[Candidate]) -> Why:
    best = max(found, key=lambda each: each.score)
    return Why(
        rule=best.rule or "question_none",
        reason=f"no question of {len(found)} passes; the best one: {best.reason}",
        next_step="name another --model or prompt and run `memoirist ask` again",
    )
