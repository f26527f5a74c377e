"""The questions of one reply as candidates: the score of each, and the rule that refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memoirist.data.curation.pair_score import score
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.question_filters import reject_question
from memoirist.data.schema.records import Candidate, Passage, Request, content_id
from memoirist.data.text.words import count_words, words
from memoirist.generators.prompts.prompt_templates import FilledPrompt, fill_prompt, repeats_prompt
from memoirist.generators.tasks.cache_key import Query, rules_version
from memoirist.generators.tasks.reply_parser import Reply, Suggestion, parse_reply

# Penalties of a question: a small one for each rank of its type, so that a better question of
# another type wins, and a larger one for each class between its length and the requested one.
_TYPE_PENALTY = 0.02
_LENGTH_PENALTY = 0.15


def opener(question: str) -> str:
    """Return the first two words, lower-cased."""
    return " ".join(words(question[:80])[:2])


def length_class(question: str, lang: str) -> int:
    """Return 1 for up to 8 words, 2 for 9-20, 3 for longer; a Chinese word has 1.6 characters."""
    n_words = count_words(question) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionCriteria:
    """What the questions of one passage are scored by; no question may contain `names`."""

    passage: Passage
    names: frozenset[str]
    lang: str
    prompt: FilledPrompt
    rules: CurateSettings


def persona_words(persona: str) -> frozenset[str]:
    """Return the words of the persona's name that a question may not contain: the last one."""
    name_words = [word for word in words(persona) if len(word) > 2]
    return frozenset(name_words[-1:])


def candidates(reply: Reply, key: str, criteria: QuestionCriteria) -> list[Candidate]:
    """Return every question of a reply with its score and, if a rule refuses it, that rule."""
    return [
        _candidate(ord_, suggestion, key, criteria)
        for ord_, suggestion in enumerate(reply.questions)
    ]


def _candidate(
    ord_: int, suggestion: Suggestion, key: str, criteria: QuestionCriteria
) -> Candidate:
    text = suggestion.text
    quality = score(text, criteria.passage.text, criteria.lang, criteria.rules.rejects)
    length = length_class(text, criteria.lang)
    fault = _refusal(text, quality, criteria)
    types: Sequence[str] = criteria.prompt.types
    rank = types.index(suggestion.type) if suggestion.type in types else len(types)
    penalty = _TYPE_PENALTY * rank
    penalty += _LENGTH_PENALTY * abs(length - criteria.prompt.length_class)
    return Candidate(
        id=content_id(key, ord_, text),
        key=key,
        ord=ord_,
        text=text,
        type=suggestion.type,
        length_class=length,
        opener=opener(text),
        score=round(quality - penalty, 3),
        rule=fault[0] if fault else None,
        reason=fault[1] if fault else None,
    )


def _refusal(question: str, quality: float, criteria: QuestionCriteria) -> tuple[str, str] | None:
    names = criteria.names.intersection(words(question))
    if names:
        return "question_names", f"it names the persona: {min(names)!r}"
    if repeats_prompt(question, criteria.prompt.messages[0]["content"]):
        return "question_prompt", "it repeats the interviewer's instructions"
    fault = reject_question(question, criteria.passage.text, criteria.lang, criteria.rules.rejects)
    min_score = criteria.rules.min_score
    if fault is None and quality < min_score:
        return "low_score", f"soft score {quality} below {min_score}"
    return fault


@dataclass(frozen=True, slots=True, kw_only=True)
class NoQuestion:
    """NoQuestion a passage got no question: the parts of its verdict."""

    rule: str
    reason: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredReply:
    """The questions of one reply; `failure` is set where all of them are refused."""

    reply: Reply
    candidates: Sequence[Candidate]
    failure: NoQuestion | None

    @property
    def best(self) -> Candidate | None:
        """Return the best question of this reply; the final choice is made over all replies."""
        accepted = [candidate for candidate in self.candidates if candidate.rule is None]
        return max(accepted, key=lambda one: (one.score, -one.ord), default=None)


@dataclass(slots=True)
class ReplyScorer:
    """Scores replies for one persona by one set of rules."""

    persona: str
    rules: CurateSettings
    _names: frozenset[str] = field(init=False)
    _version: str = field(init=False)

    def __post_init__(self) -> None:
        """Compute what is the same for every reply."""
        self._names = persona_words(self.persona)
        self._version = rules_version(self.rules)

    def score(self, reply: Reply, query: Query, prompt: FilledPrompt) -> ScoredReply:
        """Score every question of a reply."""
        if not reply.is_answer:
            failure = NoQuestion(
                rule="not_an_answer",
                reason=f"the model says that it is no answer, confidence {reply.confidence:.2f}",
                next_step="look at the passage; if it is a good answer, name another --model",
            )
            return ScoredReply(reply=reply, candidates=(), failure=failure)
        criteria = QuestionCriteria(
            passage=query.passage,
            names=self._names,
            lang=query.lang,
            prompt=prompt,
            rules=self.rules,
        )
        scored = candidates(reply, query.key, criteria)
        accepted = any(candidate.rule is None for candidate in scored)
        return ScoredReply(
            reply=reply, candidates=scored, failure=None if accepted else _all_refused(scored)
        )

    def score_again(self, request: Request, query: Query) -> tuple[Request, Sequence[Candidate]]:
        """Score a kept reply by the current rules."""
        reply = parse_reply(request.reply or "")
        if isinstance(reply, str):
            failure = NoQuestion(
                rule="unusable_reply", reason=reply, next_step="name another --model"
            )
            return self.with_result(request, None, failure), ()
        prompt = fill_prompt(query.passage, self.persona, query.lang, query.prompt)
        scored = self.score(reply, query, prompt)
        return self.with_result(request, reply, scored.failure), scored.candidates

    def with_result(
        self, request: Request, reply: Reply | None, failure: NoQuestion | None
    ) -> Request:
        """Return the request's row with the result of its reply."""
        return replace(
            request,
            is_answer=reply.is_answer if reply else None,
            confidence=reply.confidence if reply else None,
            rule=failure.rule if failure else None,
            error=failure.reason if failure else None,
            next_step=failure.next_step if failure else None,
            judged=self._version,
        )


def _all_refused(scored: Sequence[Candidate]) -> NoQuestion:
    best = max(scored, key=lambda candidate: candidate.score)
    return NoQuestion(
        rule=best.rule or "question_none",
        reason=f"no question of {len(scored)} passes; the best one: {best.reason}",
        next_step="name another --model or prompt and run `memoirist ask` again",
    )
