"""The questions of one reply as candidates: the score of each, and the rule that refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.rules import Checked, check_questions
from memoirist.data.schema.records import Candidate, Passage, Request, content_id
from memoirist.data.text.words import count_words, words
from memoirist.generators.prompts.prompt_templates import (
    FilledPrompt,
    QuestionPrompt,
    fill_prompt,
    repeats_prompt,
)
from memoirist.generators.tasks.reply_parser import Reply, Suggestion, parse_reply

# Increase it when the rules for questions change: the kept replies are then scored again.
_RULES_VERSION = 2
# Penalties of a question: a small one for each rank of its type, so that a better question of
# another type wins, and a larger one for each class between its length and the requested one.
_TYPE_PENALTY = 0.02
_LENGTH_PENALTY = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The prompt, the language and the cache key of the question for one passage."""

    passage: Passage
    key: str
    passage_hash: str
    lang: str
    prompt: QuestionPrompt


def opener(question: str) -> str:
    """Return the first two words, lower-cased."""
    return " ".join(words(question[:80])[:2])


def length_class(question: str, lang: str) -> int:
    """Return 1 for up to 8 words, 2 for 9-20, 3 for longer; a Chinese word has 1.6 characters."""
    n_words = count_words(question) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


def persona_words(persona: str) -> frozenset[str]:
    """Return the words of the persona's name that a question may not contain: the last one."""
    name_words = [word for word in words(persona) if len(word) > 2]
    return frozenset(name_words[-1:])


def rules_version(judging: CurateSettings) -> str:
    """Return the version of the rules that score and refuse the questions of a reply."""
    rejects = judging.rejects.model_dump_json()
    return content_id("judging", _RULES_VERSION, rejects, judging.min_score)


@dataclass(slots=True)
class ReplyScorer:
    """Scores replies for one persona by one set of rules."""

    persona: str
    rules: CurateSettings
    version: str = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compute what is the same for every reply."""
        self._names = persona_words(self.persona)
        self.version = rules_version(self.rules)

    def score(
        self, replies: Sequence[tuple[Request, Reply, Query, FilledPrompt]]
    ) -> list[tuple[Request, Sequence[Candidate]]]:
        """Return each request's row with the result of its reply, and the questions with scores.

        The rules judge many questions in the time of one.
        """
        asked: dict[str, list[tuple[str, str]]] = {}
        for _, reply, query, _ in replies:
            questions = reply.questions if reply.is_answer else ()
            pairs = [(question.text, query.passage.text) for question in questions]
            asked.setdefault(query.lang, []).extend(pairs)
        checked = {
            lang: iter(check_questions(pairs, lang, self.rules)) for lang, pairs in asked.items()
        }
        return [
            self._score(
                request, reply, query, self._candidates(reply, query, prompt, checked[query.lang])
            )
            for request, reply, query, prompt in replies
        ]

    def _score(
        self, request: Request, reply: Reply, query: Query, scored: Sequence[Candidate]
    ) -> tuple[Request, Sequence[Candidate]]:
        row = replace(
            request,
            is_answer=reply.is_answer,
            confidence=reply.confidence,
            rule=None,
            error=None,
            next_step=None,
            judged=self.version,
        )
        if not reply.is_answer:
            row = replace(
                row,
                rule="not_an_answer",
                error=f"the model says it is not an answer (confidence {reply.confidence:.2f})",
                next_step="read the passage; if it is a good answer, name another --model",
            )
            return row, ()
        if all(candidate.rule is not None for candidate in scored):
            best = max(scored, key=lambda candidate: candidate.score)
            row = replace(
                row,
                rule=best.rule,
                error=f"no question of {len(scored)} passes the rules; the best: {best.reason}",
                next_step="name another --model or prompt and run `memoirist ask` again",
            )
        return row, scored

    def score_again(
        self, kept: Sequence[tuple[Request, Query]]
    ) -> list[tuple[Request, Sequence[Candidate]]]:
        """Score kept replies by the current rules."""
        usable: list[tuple[Request, Reply, Query, FilledPrompt]] = []
        results: list[tuple[Request, Sequence[Candidate]]] = []
        for request, query in kept:
            reply = parse_reply(request.reply or "")
            if isinstance(reply, str):
                row = replace(request, is_answer=None, confidence=None, judged=self.version)
                step = "name another --model"
                row = replace(row, rule="unusable_reply", error=reply, next_step=step)
                results.append((row, ()))
            else:
                prompt = fill_prompt(query.passage, self.persona, query.lang, query.prompt)
                usable.append((request, reply, query, prompt))
        return results + self.score(usable)

    def _candidates(
        self, reply: Reply, query: Query, prompt: FilledPrompt, checked: Iterator[Checked]
    ) -> list[Candidate]:
        """Return every question of a reply with its score and, if a rule refuses it, that rule."""
        return [
            self._candidate(ord_, query, prompt, (suggestion, next(checked)))
            for ord_, suggestion in enumerate(reply.questions if reply.is_answer else ())
        ]

    def _candidate(
        self, ord_: int, query: Query, prompt: FilledPrompt, judged: tuple[Suggestion, Checked]
    ) -> Candidate:
        suggestion, checked = judged
        text = suggestion.text
        length = length_class(text, query.lang)
        rule, reason = self._refusal(text, prompt) or (checked.rule, checked.reason)
        types: Sequence[str] = prompt.types
        rank = types.index(suggestion.type) if suggestion.type in types else len(types)
        penalty = _TYPE_PENALTY * rank
        penalty += _LENGTH_PENALTY * abs(length - prompt.length_class)
        return Candidate(
            id=content_id(query.key, ord_, text),
            key=query.key,
            ord=ord_,
            text=text,
            type=suggestion.type,
            length_class=length,
            opener=opener(text),
            score=round(checked.quality - penalty, 3),
            rule=rule,
            reason=reason,
        )

    def _refusal(self, question: str, prompt: FilledPrompt) -> tuple[str, str] | None:
        names = self._names.intersection(words(question))
        if names:
            return "question_names", f"it names the persona: {min(names)!r}"
        if repeats_prompt(question, prompt.messages[0]["content"]):
            return "question_prompt", "it repeats the interviewer's instructions"
        return None
