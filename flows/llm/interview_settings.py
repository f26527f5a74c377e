"""The interview settings with the language and the kind of each source.

The kind of a source is guessed once and stored; the recipe overrules it.
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
    """Return the interview's settings with the language and the kind of every source by its id.

    `interview.kinds` comes first, then `interview.kind`. A guessed kind is stored as a verdict on
    the source, so that new chapters do not change it. With `keep` False nothing is written. Raise
    RecipeError for a name in `interview.kinds` that matches no source.
    """
    settings, store = context.recipe.interview, context.workspace.store
    sources = store.nouns(Source, "true ORDER BY added_at, id")
    configured = _configured_kinds(settings, sources)
    kinds, new_verdicts = dict(configured), list[Verdict]()
    if settings.kind == "auto":
        stored = {
            row["subject_id"]: row["rule"].removeprefix("asked_as_")
            for row in store.rows("SELECT subject_id, rule FROM verdicts WHERE step = 'kind'")
        }
        for source in sources:
            if source.id in configured or source.kind == "dataset" or source.format in BY_HAND:
                continue  # these have their own questions
            if stored.get(source.id) in KINDS:
                kinds[source.id] = stored[source.id]
            elif texts := [str(row["text"]) for row in store.rows(_TEXTS, [source.id])]:
                verdict, kinds[source.id] = _guess(context, source, texts)
                new_verdicts.append(verdict)
    lang = settings.language or persona_language(context)
    if new_verdicts and keep:
        with store.writing() as tx:
            tx.upsert(new_verdicts)
    return settings.model_copy(update={"kinds": kinds, "language": lang})


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


def _configured_kinds(settings: InterviewSettings, sources: list[Source]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, kind in settings.kinds.items():
        source_ids = [source.id for source in sources if _matches(name, source)]
        if not source_ids:
            names = ", ".join(repr(Path(source.location).name) for source in sources[:8])
            raise RecipeError(
                f"interview.kinds names {name!r}, which is no source", f"choose among {names}"
            )
        kinds |= dict.fromkeys(source_ids, kind)
    return kinds


def _matches(name: str, source: Source) -> bool:
    file = Path(source.location).name
    exact = name in {source.id, source.location, file, source.title}
    return exact or fnmatch(source.location, name) or fnmatch(file, name)
