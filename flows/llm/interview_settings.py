"""What the interview needs to know of the sources: the language, and the kind of each.

A kind is found once, kept, and overruled by the recipe.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.schema.errors import RecipeError
from memoirist.data.schema.records import Source, Verdict
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.generators.prompts.source_kinds import KINDS, Kind, guess_kind
from memoirist.generators.settings import InterviewSettings

_TEXTS = (
    "SELECT text FROM cut_passages WHERE source_id = ? AND source_row IS NULL"
    " ORDER BY document_id, ord LIMIT 3000"
)


def resolved_settings(context: Context, *, keep: bool = True) -> InterviewSettings:
    """Return the interview's settings with its language and the kind of every source by its id.

    The recipe's word for one source comes first, then its word for all. What is found otherwise
    is kept as a verdict on the source, so that new chapters do not change how it is asked about.
    With `keep` False nothing is written. Raise RecipeError for a name in `interview.kinds` that
    fits no source.
    """
    settings, store = context.recipe.interview, context.workspace.store
    sources = store.nouns(Source, "true ORDER BY added_at, id")
    told = _told(settings, sources)
    found, fresh = dict(told), list[Verdict]()
    if settings.kind == "auto":
        before = {
            row["subject_id"]: row["rule"].removeprefix("asked_as_")
            for row in store.rows("SELECT subject_id, rule FROM verdicts WHERE step = 'kind'")
        }
        for source in sources:
            if source.id in told or source.kind == "dataset" or source.format in BY_HAND:
                continue  # these bring their own questions
            if before.get(source.id) in KINDS:
                found[source.id] = before[source.id]
            elif texts := [str(row["text"]) for row in store.rows(_TEXTS, [source.id])]:
                verdict, found[source.id] = _guess(context, source, texts)
                fresh.append(verdict)
    lang = settings.language or persona_language(context)
    if fresh and keep:
        with store.writing() as tx:
            tx.upsert(fresh)
    return settings.model_copy(update={"kinds": found, "language": lang})


def _guess(context: Context, source: Source, texts: list[str]) -> tuple[Verdict, Kind]:
    title = source.title or Path(source.location).stem
    kind, reason = guess_kind(source.kind, title, texts, persona_language(context))
    context.report.note(f"{title} is asked about as {kind}: {reason}")
    verdict = Verdict(
        subject_id=source.id,
        subject="sources",
        rule=f"asked_as_{kind}",
        keep=True,
        reason=reason,
        created_at=context.now,
        next_step="if it is of another kind, say so in interview.kinds",
    )
    return replace(verdict, step="kind", source_id=source.id), kind


def _told(settings: InterviewSettings, sources: list[Source]) -> dict[str, Kind]:
    told: dict[str, Kind] = {}
    for name, kind in settings.kinds.items():
        meant = [source.id for source in sources if _fits(name, source)]
        if not meant:
            names = ", ".join(repr(Path(source.location).name) for source in sources[:8])
            raise RecipeError(
                f"interview.kinds names {name!r}, which is no source", f"choose among {names}"
            )
        told |= dict.fromkeys(meant, kind)
    return told


def _fits(name: str, source: Source) -> bool:
    file = Path(source.location).name
    exact = name in {source.id, source.location, file, source.title}
    return exact or fnmatch(source.location, name) or fnmatch(file, name)
