"""The eval set of a run (held-out questions, examples, the person's text), and its predictions."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.evaluation.ability import Attempt, instructions
from memoirist.data.evaluation.findings import EvalData, Side
from memoirist.data.evaluation.honesty import questions
from memoirist.data.schema.records import Conversation, GivenAnswer, Run
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.words import count_words
from memoirist.flows.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.base import Step, fingerprint

Messages = Sequence[Mapping[str, str]]
# Words of a good example: long enough to have a voice, short enough for several of them.
_EXAMPLE_WORDS = (20, 250)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutQuestion:
    """A held-out question: the messages before its answer, and the person's answer."""

    question: str
    prompt: Messages
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The inputs and references that all sides of an evaluation share."""

    rows: Sequence[Conversation]
    on_test: bool
    questions: Sequence[HeldOutQuestion]
    system: str
    examples: Messages
    data: EvalData

    @property
    def honest_prompts(self) -> list[Messages]:
        """Return the questions on honesty under the persona's system prompt."""
        opening = [{"role": "system", "content": self.system}] if self.system else []
        return [[*opening, {"role": "user", "content": item.text}] for item in self.data.honest]


def build_eval_set(context: Context, run: Run) -> EvalSet | None:
    """Return the eval set of a run; None if no row is held out."""
    settings = context.recipe.evaluate
    rows = context.workspace.store.nouns(
        Conversation, "dataset_id = ? ORDER BY split, id", run.dataset_id
    )
    held_out = [row for row in rows if row.split == "test"]
    validation = [row for row in rows if row.split == "validation"]
    if not held_out and not validation:
        return None
    persona = Recipe.model_validate_json(run.recipe).persona
    own = _own(context, rows)
    lang = _language(context, own)
    trained = [row for row in rows if row.split == "train"]
    return EvalSet(
        rows=(held_out or validation)[: settings.max_conversations],
        on_test=bool(held_out),
        questions=_questions(held_out, validation, settings.questions, settings.seed),
        system=persona.system_prompt(lang) if persona.name else _commonest_system(own),
        examples=_examples(own, settings.few_shot, settings.few_shot_words, settings.seed),
        data=EvalData(
            lang=lang,
            author=[text for row in own for text in _answers(row)],
            trained=[text for row in trained for text in _answers(row)],
            honest=questions(lang, persona.name or "the author") if settings.questions else [],
            plain=instructions() if settings.questions and settings.abilities else (),
            seed=settings.seed,
        ),
    )


def _own(context: Context, rows: Sequence[Conversation]) -> list[Conversation]:
    """Return the train conversations in the persona's own words.

    Mixed-in rows, rows saved in chat and rows that disclose the AI are excluded.
    """
    others = context.workspace.store.rows(
        "SELECT DISTINCT l.conversation_id FROM lineage l JOIN sources s ON s.id = l.source_id"
        f" WHERE mix_share IS NOT NULL OR format IN {BY_HAND}"
    )
    ids = {row["conversation_id"] for row in others}
    return [row for row in rows if row.split == "train" and row.id not in ids]


def _language(context: Context, own: Sequence[Conversation]) -> str:
    """Return the persona's language, or that of the answers in a workspace without documents."""
    lang = context.recipe.persona.lang
    if lang != "auto" or context.workspace.store.value("SELECT count(*) FROM documents"):
        return persona_language(context)
    return detect_language(" ".join(text for row in own[:200] for text in _answers(row)))


def _commonest_system(rows: Sequence[Conversation]) -> str:
    first = [row.messages[0] for row in rows if row.messages]
    prompts = Counter(m["content"] for m in first if m["role"] == "system")
    return next(iter(prompts.most_common(1)), ("", 0))[0]


def _answers(row: Conversation) -> list[str]:
    return [m["content"] for m in row.messages if m["role"] == "assistant"]


def _questions(
    test: Sequence[Conversation], validation: Sequence[Conversation], n: int, seed: int
) -> list[HeldOutQuestion]:
    """Return up to `n` questions that no training has used; test rows come first."""
    chosen: dict[str, HeldOutQuestion] = {}
    for row in [*_shuffled(test, seed), *_shuffled(validation, seed)]:
        prompt = list(takewhile(lambda m: m["role"] != "assistant", row.messages))
        questions = [m["content"] for m in prompt if m["role"] == "user"]
        answers = _answers(row)
        if questions and answers and questions[-1] not in chosen:
            chosen[questions[-1]] = HeldOutQuestion(
                question=questions[-1], prompt=prompt, answer=answers[0]
            )
    return list(chosen.values())[:n]


def _examples(rows: Sequence[Conversation], n: int, max_words: int, seed: int) -> Messages:
    """Return up to `n` exchanges of the person as messages, with at most `max_words` words."""
    least, most = _EXAMPLE_WORDS
    examples: list[Mapping[str, str]] = []
    for row in _shuffled(rows, seed):
        turns = [m for m in row.messages if m["role"] != "system"][:2]
        size = sum(count_words(m["content"]) for m in turns)
        is_exchange = [m["role"] for m in turns] == ["user", "assistant"]
        if is_exchange and least <= size <= min(most, max_words):
            examples += turns
            max_words -= size
    return examples[: 2 * n]


def _shuffled(rows: Sequence[Conversation], seed: int) -> list[Conversation]:
    ordered = sorted(rows, key=lambda row: row.id)
    random.Random(seed).shuffle(ordered)
    return ordered


def predict_sides(
    context: Context, run: Run, paths: Mapping[str, Path], eval_set: EvalSet, state: str
) -> dict[str, Side]:
    """Return the predictions of every side; a model with predictions in this `state` does not run.

    The person's own answers are the side `human`.
    """
    questions = [*(row.question for row in eval_set.questions), *(row.id for row in eval_set.rows)]
    sides: dict[str, Side] = {}
    for name, path in paths.items():
        inputs = (state, context.workspace.relative(path), eval_set.system, *questions)
        step = Step(context, f"predict_{name}", run.id, fingerprint(*inputs), verb="evaluate")
        if not step.is_done:
            _write(step, run, name, _predict(step, run, name, path, eval_set))
        sides |= _read(context, run, name)
    sides["human"] = Side(answers=[row.answer for row in eval_set.questions])
    rows = [row for name in sides for row in _answer_rows(run.id, name, sides[name], eval_set)]
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM answers WHERE run_id = ?", [run.id])
        tx.upsert(rows)
    return sides


def _predict(step: Step, run: Run, name: str, path: Path, eval_set: EvalSet) -> dict[str, Side]:
    """Run one model; the base runs twice, without and with examples in its prompts."""
    from memoirist.train.inference.predict import PredictionInputs, predict

    inputs = PredictionInputs(
        held_out=eval_set.rows,
        prompts=[question.prompt for question in eval_set.questions],
        honest=eval_set.honest_prompts,
        plain=eval_set.data.plain,
    )
    inputs_of = {name: inputs}
    if name == "base" and eval_set.examples:
        inputs_of["few_shot"] = replace(inputs, plain=(), examples=eval_set.examples)
    context = step.context
    with context.report.progress("evaluate", "answers") as advance:
        function = partial(predict, path, inputs_of, context.recipe.evaluate, advance)
        results = step.call(f"{run.id} {name}", function)
    return {
        side: Side(
            answers=[answer.text for answer in result.answers],
            finished=[answer.finished for answer in result.answers],
            honest=[answer.text for answer in result.honest],
            losses={i: (loss.total, loss.tokens) for i, loss in result.losses.items()},
            attempts=result.attempts,
        )
        for side, result in results.items()
    }


def _answer_rows(run_id: str, name: str, side: Side, eval_set: EvalSet) -> list[GivenAnswer]:
    finished: Sequence[bool | None] = side.finished or [None] * len(side.answers)
    row = partial(GivenAnswer, run_id=run_id, model=name)
    rows = [
        row(kind="held_out", question=held.question, answer=answer, finished=ended)
        for held, answer, ended in zip(eval_set.questions, side.answers, finished, strict=True)
    ]
    # The person has no answers to the questions on honesty.
    honest = zip(eval_set.data.honest, side.honest, strict=True) if side.honest else ()
    return rows + [row(kind=item.kind, question=item.text, answer=text) for item, text in honest]


def _write(step: Step, run: Run, name: str, sides: Mapping[str, Side]) -> None:
    content = json.dumps({key: asdict(side) for key, side in sides.items()}, ensure_ascii=False)
    with step.writing() as tx:
        tx.execute("DELETE FROM predictions WHERE run_id = ? AND model = ?", [run.id, name])
        tx.execute("INSERT INTO predictions VALUES (?, ?, ?)", [run.id, name, content])


def _read(context: Context, run: Run, name: str) -> dict[str, Side]:
    content = context.workspace.store.value(
        "SELECT content FROM predictions WHERE run_id = ? AND model = ?", run.id, name
    )
    return {side: _side(row) for side, row in json.loads(content).items()}


def _side(row: dict[str, Any]) -> Side:
    losses = {name: (total, tokens) for name, (total, tokens) in row["losses"].items()}
    attempts = [Attempt(**attempt) for attempt in row["attempts"]]
    return Side(**{**row, "losses": losses, "attempts": attempts})
