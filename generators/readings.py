"""What a reply that can be used comes to: its questions, judged, or why it gives none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Candidate, Request
from memoirist.generators.brief import Brief, write_brief
from memoirist.generators.choose import Wish, candidates, persona_words
from memoirist.generators.keys import Query, judging_mark
from memoirist.generators.replies import Reply, parse_reply


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
