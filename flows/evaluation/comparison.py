"""Compare pairs of answers by an LLM as judge, or by a person with a sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from memoirist.data.evaluation.preferences import (
    Duel,
    Score,
    cut_to_equal_length,
    read_sheet,
    score,
    sheet,
)
from memoirist.data.schema.errors import (
    MemoiristError,
    NothingToDo,
    SourceMissing,
    SourceUnreadable,
)
from memoirist.data.schema.records import GivenAnswer, Judged, Run
from memoirist.flows.evaluation.eval_set import EvalSet
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.llm_runner import (
    find_model,
    last_reply,
    run_missing,
    run_to_the_end,
)
from memoirist.flows.steps.ask import greedy_settings
from memoirist.flows.steps.base import Step, fingerprint

_RIVALS = ("base", "few_shot", "previous")
# Pieces of the person's text that the judge sees, and their words in total.
_PIECES, _PIECE_WORDS = 4, 600


def duels_of(run_id: str, answers: Sequence[GivenAnswer]) -> dict[str, list[Duel]]:
    """Return the tuned model's duels with each rival, on the held-out questions."""
    by_question: dict[str, dict[str, str]] = defaultdict(dict)
    for row in answers:
        if row.kind == "held_out":
            by_question[row.question][row.model] = row.answer
    duels: dict[str, list[Duel]] = {}
    for rival in _RIVALS:
        for question, answer_of in sorted(by_question.items()):
            if answer_of.get("tuned", "").strip() and answer_of.get(rival, "").strip():
                duel = Duel(
                    run_id=run_id,
                    first="tuned",
                    second=rival,
                    question=question,
                    answers=cut_to_equal_length(answer_of["tuned"], answer_of[rival]),
                )
                duels.setdefault(rival, []).append(duel)
    return duels


def _duels(context: Context, run: Run) -> dict[str, list[Duel]]:
    return duels_of(run.id, context.workspace.store.nouns(GivenAnswer, "run_id = ?", run.id))


def _in_both_orders(context: Context, run: Run) -> list[Duel]:
    duels = [duel for rival in _duels(context, run).values() for duel in rival]
    return [order for duel in duels for order in (duel, duel.swapped)]


def scores(context: Context, run: Run) -> dict[tuple[str, str], Score]:
    """Return the tuned model's score against each rival, by judge and rival."""
    duels = _duels(context, run)
    verdicts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in context.workspace.store.nouns(Judged, "run_id = ?", run.id):
        verdicts[row.judge][row.id] = row.better
    return {
        (judge, rival): result
        for judge, better in sorted(verdicts.items())
        for rival, rival_duels in duels.items()
        if (result := score(rival_duels, better)).wins is not None or result.undecided
    }


def judge_duels(context: Context, run: Run, eval_set: EvalSet) -> None:
    """Have an LLM choose in every duel, in both orders, where `evaluate.judge` asks for it."""
    if context.recipe.evaluate.judge:
        context.call("judge", "answers", lambda: run_to_the_end(_judge(context, run, eval_set)))


def is_judge_due(context: Context, run: Run) -> bool:
    """Tell whether the recipe asks for a judge and the run's answers are not judged yet."""
    return context.recipe.evaluate.judge and not _step(context, run).is_done


def _step(context: Context, run: Run) -> Step:
    answers = context.workspace.store.value(
        "SELECT md5(string_agg(concat_ws(chr(31), model, question, answer), chr(31)"
        " ORDER BY model, question)) FROM answers WHERE run_id = ? AND kind = 'held_out'",
        run.id,
    )
    state = fingerprint(answers, context.recipe.evaluate.judge_model)
    return Step(context, "duel", run.id, state, verb="judge")


async def _judge(context: Context, run: Run, eval_set: EvalSet) -> None:
    from memoirist.generators.tasks.judgement import PairwiseTask, read_choice

    step = _step(context, run)
    judge = context.recipe.evaluate.judge_model or context.recipe.interview.model
    settings = greedy_settings(context, model=judge)
    both = _in_both_orders(context, run)
    if not both:
        with step.writing():
            step.report("no question has two answers to compare")
        return
    model, endpoint = await find_model(context, settings, settings.model)
    task = PairwiseTask.load(eval_set.data.lang, model, settings, pieces(eval_set.data.author))
    items = [task.item(duel) for duel in both]
    sent = await run_missing(context, items, task, settings, endpoint)
    reply_of = last_reply(context, task.purpose, "evaluate")
    rows: list[Judged] = []
    for duel, item in zip(both, items, strict=True):
        reply = reply_of(item.key)
        choice = read_choice(reply["reply"] or "") if reply["status"] == "ok" else ""
        if isinstance(choice, int):
            rows.append(_judged(duel, model, choice))
    with step.writing(finished=sent.finished) as tx:
        tx.execute("DELETE FROM duels WHERE run_id = ? AND judge = ?", [run.id, model])
        tx.upsert(rows)
    failed = f", {len(both) - len(rows)} without a usable reply" if len(rows) < len(both) else ""
    step.report(f"{len(rows)} verdicts by {model} on {len(both) // 2} pairs of answers{failed}")


def pieces(author: Sequence[str]) -> list[str]:
    """Return a few pieces of the person's text, spread over all of it."""
    step = max(1, len(author) // _PIECES)
    n_words = _PIECE_WORDS // _PIECES
    return [cut_to_equal_length(text, text, n_words)[0] for text in author[::step][:_PIECES]]


def write_sheet(context: Context, run: Run, path: Path) -> None:
    """Write the duels of a run as a sheet for a person; Markdown if the path ends in .md."""
    duels = [duel for rival in _duels(context, run).values() for duel in rival]
    if not duels:
        raise NothingToDo(
            "the newest run has no answers to compare", "run `memoirist evaluate` first"
        )
    text = sheet(duels, context.recipe.evaluate.seed, markdown=path.suffix == ".md")
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise MemoiristError(
            f"cannot write the sheet {str(path)!r}: {error.strerror}", "choose another path"
        ) from error
    context.report.step("sheet", f"{2 * len(duels)} rows to fill in: {path}")


def take_sheet(context: Context, run: Run, path: Path) -> None:
    """Read the verdicts of a filled-in sheet; the file's name is the judge."""
    try:
        verdicts = read_sheet(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise SourceMissing(f"there is no sheet at {str(path)!r}", "check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreadable(
            f"the sheet {str(path)!r} cannot be read: {error}", "save it as UTF-8 text"
        ) from error
    duels = {duel.id: duel for duel in _in_both_orders(context, run)}
    rows = [_judged(duels[n], path.stem, better) for n, better in verdicts.items() if n in duels]
    if not rows:
        raise NothingToDo(
            f"no row of the sheet {str(path)!r} is filled in for the newest run",
            "write 1, 2 or = in its last column; a new evaluation needs a new sheet",
        )
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM duels WHERE run_id = ? AND judge = ?", [run.id, path.stem])
        tx.upsert(rows)
    context.report.step("sheet", f"{len(rows)} verdicts taken from {path}")


def _judged(duel: Duel, judge: str, better: int) -> Judged:
    return Judged(
        id=duel.id,
        run_id=duel.run_id,
        judge=judge,
        first=duel.first,
        second=duel.second,
        question=duel.question,
        better=better,
    )
