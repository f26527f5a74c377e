"""Set two answers against each other: for an LLM to judge, or for a person with a sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import MemoiristError, NothingToDo, SourceMissing, SourceUnreadable
from data.measures.versus import Duel, Score, cut_alike, read_sheet, score, sheet
from data.nouns import GivenAnswer, Judged, Run
from flows.context import Context
from flows.examining import Setting
from flows.llm.endpoints import find_endpoint
from flows.llm.runner import kept_replies, run_items, run_to_the_end

if TYPE_CHECKING:
    from generators.settings import InterviewSettings

_RIVALS = ("base", "few_shot", "previous")
# Pieces of the person that the judge sees, and the words that they may have together.
_PIECES, _PIECE_WORDS = 4, 600


def duels_of(run_id: str, answers: Sequence[GivenAnswer]) -> dict[str, list[Duel]]:
    """Return the tuned model's duels with each rival, on the held-out questions."""
    by_question: dict[str, dict[str, str]] = defaultdict(dict)
    for each in answers:
        if each.kind == "held_out":
            by_question[each.question][each.model] = each.answer
    found: dict[str, list[Duel]] = {}
    for rival in _RIVALS:
        for question, said in sorted(by_question.items()):
            if said.get("tuned", "").strip() and said.get(rival, "").strip():
                duel = Duel(
                    run_id=run_id,
                    first="tuned",
                    second=rival,
                    question=question,
                    answers=cut_alike(said["tuned"], said[rival]),
                )
                found.setdefault(rival, []).append(duel)
    return found


def scores(context: Context, run: Run) -> dict[tuple[str, str], Score]:
    """Return how the tuned model did against each rival, by judge and rival."""
    store = context.workspace.store
    duels = duels_of(run.id, store.nouns(GivenAnswer, "run_id = ?", run.id))
    verdicts: dict[str, dict[str, int]] = defaultdict(dict)
    for each in store.nouns(Judged, "run_id = ?", run.id):
        verdicts[each.judge][each.id] = each.better
    return {
        (judge, rival): counted
        for judge, told in sorted(verdicts.items())
        for rival, each in duels.items()
        if (counted := score(each, told)).wins is not None or counted.undecided
    }


def judge_duels(context: Context, run: Run, setting: Setting) -> None:
    """Have an LLM choose in every duel, in both orders, where `evaluate.judge` asks for it."""
    if not context.recipe.evaluate.judge:
        return
    with context.timed() as seconds:
        told = context.call(
            "judge", "answers", lambda: run_to_the_end(_judge(context, run, setting))
        )
    context.report.step("judge", told, seconds())


async def _judge(context: Context, run: Run, setting: Setting) -> str:
    from generators.tasks.pairwise import Choice, PairwiseTask, read_choice

    store, settings = context.workspace.store, _settings(context)
    duels = duels_of(run.id, store.nouns(GivenAnswer, "run_id = ?", run.id))
    both = [each for rival in duels.values() for duel in rival for each in (duel, duel.turned)]
    if not both:
        return "there are no two answers to judge"
    endpoint = None if settings.model else await find_endpoint(context, settings)
    model = settings.model or (endpoint.model if endpoint else "")
    task = PairwiseTask.load(setting.matter.lang, model, settings, pieces(setting.matter.author))
    items = {duel.id: task.item(duel) for duel in both}
    known = kept_replies(context, "versus", settings)
    due = [item for item in items.values() if item.key not in known]
    if due:
        await run_items(context, due, task, settings, endpoint)
        known = kept_replies(context, "versus", settings)
    rows: list[Judged] = []
    for duel in both:
        kept = known.get(items[duel.id].key)
        choice = read_choice(kept["reply"] or "") if kept and kept["status"] == "ok" else ""
        if isinstance(choice, Choice):
            rows.append(_judged(duel, model, choice.better))
    with store.writing() as tx:
        tx.execute("DELETE FROM duels WHERE run_id = ? AND judge = ?", [run.id, model])
        tx.upsert(rows)
    failed = f", {len(both) - len(rows)} without a usable reply" if len(rows) < len(both) else ""
    return f"{len(rows)} verdicts by {model} on {len(both) // 2} duels{failed}"


def _settings(context: Context) -> InterviewSettings:
    """Return the interview's settings with the judge's model, and no chance in its choice."""
    settings = context.recipe.interview
    return settings.model_copy(
        update={
            "model": context.recipe.evaluate.judge_model or settings.model,
            "temperature": None if settings.temperature is None else 0.0,
        }
    )


def pieces(author: Sequence[str]) -> list[str]:
    """Return a few pieces of the person's text, spread over all of it."""
    step = max(1, len(author) // _PIECES)
    each = _PIECE_WORDS // _PIECES
    return [cut_alike(text, text, each)[0] for text in author[::step][:_PIECES]]


def write_sheet(context: Context, run: Run, path: Path) -> None:
    """Write the duels of a run as a sheet for a person; Markdown where the path ends in .md."""
    answers = context.workspace.store.nouns(GivenAnswer, "run_id = ?", run.id)
    duels = [duel for rival in duels_of(run.id, answers).values() for duel in rival]
    if not duels:
        raise NothingToDo(
            "the newest run has no answers to compare", "run `memoirist evaluate` first"
        )
    text = sheet(duels, context.recipe.evaluate.seed, markdown=path.suffix == ".md")
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise MemoiristError(
            f"cannot write the sheet {str(path)!r}: {error.strerror}", "choose another place"
        ) from error
    context.report.step("sheet", f"{2 * len(duels)} rows to fill in: {path}")


def take_sheet(context: Context, run: Run, path: Path) -> None:
    """Take the verdicts of a filled-in sheet under its file's name."""
    try:
        verdicts = read_sheet(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise SourceMissing(f"there is no sheet at {str(path)!r}", "check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreadable(
            f"the sheet {str(path)!r} cannot be read: {error}", "save it as UTF-8 text"
        ) from error
    answers = context.workspace.store.nouns(GivenAnswer, "run_id = ?", run.id)
    known = {
        each.id: each
        for rival in duels_of(run.id, answers).values()
        for duel in rival
        for each in (duel, duel.turned)
    }
    rows = [
        _judged(known[name], path.stem, better)
        for name, better in verdicts.items()
        if name in known
    ]
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
