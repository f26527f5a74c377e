"""Compose the kept pairs into a dataset version: conversations, split by groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from memoirist.data.composition.conversations import Composed, compose, with_train
from memoirist.data.composition.disclosure import FORMAT, Disclosure, disclose
from memoirist.data.composition.splits import Division, divide, purge
from memoirist.data.curation import selection
from memoirist.data.curation.selection import Limits
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Conversation, Dataset, Pair
from memoirist.data.store.transaction import statement
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.base import NOT_REJECTED, NOT_WITHDRAWN, Step, fingerprint
from memoirist.flows.steps.curate import (
    CONTENT_HASH,
    EXCHANGES_HASH,
    JUDGED_SOURCE,
    UNJUDGED_SOURCES,
)
from memoirist.flows.steps.follow_up import follow_ups
from memoirist.flows.versions import freeze_version, persona_facts

_KEPT = f"{NOT_REJECTED} AND {NOT_WITHDRAWN}"
# With fewer unique answers a model hardly learns the voice.
_FEW_ANSWERS = 300
# The tables of the recipe that change no dataset.
_AFTER = {"train", "merge", "evaluate", "refresh", "flow"}


def compose_dataset(context: Context) -> Dataset:
    """Compose the kept pairs into a dataset version; return the latest one if nothing changed."""
    latest, lang = latest_dataset(context), persona_language(context)
    step = _step(context, lang)
    if latest is not None and step.is_done:
        return latest
    store, settings = context.workspace.store, context.recipe.compose
    limits = Limits(pairs=settings.max_pairs, of_group=settings.max_group_pairs, seed=settings.seed)
    pairs = selection.best(store, limits)
    if waiting := int(store.value(UNJUDGED_SOURCES)):
        context.report.warn(
            f"sources whose exchanges are not judged yet, and are left out here: {waiting}; run"
            " `memoirist curate` and compose again"
        )
    if not pairs:
        raise NothingToDo(
            "no pair is kept, so there is nothing to compose",
            "`memoirist look dropped` shows the rules; their limits are under [curate]",
        )
    system = context.recipe.persona.system_prompt(lang)
    with store.writing() as tx:
        division = divide(tx, pairs, settings, context.now)
    _refuse_empty(division, len(pairs), latest)
    function = partial(compose, division, system, settings, context.now, follow_ups(context))
    composed = step.call(f"{len(pairs)} pairs", function)
    mixed = selection.mixed(store, _shares(context), composed.dataset.n_train, settings.seed)
    composed = _add(context, composed, division, mixed)
    # Never held out: exchanges saved in chat, and those that disclose the AI.
    saved = selection.saved(store)
    disclosure = _disclosure(context, lang, composed.conversations)
    train_only = [*saved, *(disclosure.pairs if disclosure else ())]
    composed = _add(context, composed, division, train_only, system)
    dataset = _write(step, composed, latest, disclosure, [*pairs, *mixed, *train_only])
    mixed_ids = {pair.id for pair in mixed}
    n_mixed = sum(mixed_ids.issuperset(row.pair_ids) for row in composed.conversations)
    parts = [f"{len(disclosure.pairs)} disclose the AI"] if disclosure else []
    parts += [f"{len(saved):,} saved in chat"] if saved else []
    step.finish(
        len(composed.conversations),
        f"dataset {dataset.id}: {dataset.n_train:,} train, {dataset.n_validation:,} validation,"
        f" {dataset.n_test:,} test conversations"
        + (f" ({', '.join(parts)})" if parts else "")
        + (f", {n_mixed:,} of them mixed in" if mixed else ""),
    )
    context.report.note(division.summary)
    if left_out := store.rows(statement("left_out")):
        counts = ", ".join(f"{row['n']:,} {row['what']}" for row in left_out)
        context.report.note(f"pairs left out: {counts}")
    n_answers = len({pair.answer for pair in pairs})
    if n_answers < _FEW_ANSWERS:
        context.report.note(
            f"{n_answers} unique answers; a voice needs 800 to 3,000: more sources would help"
        )
    return dataset


def _refuse_empty(division: Division, n_pairs: int, latest: Dataset | None) -> None:
    """Raise NothingToDo where no pair is left to train on."""
    if division.pairs["train"]:
        return
    advice = (
        "hold nothing out: `memoirist compose --set compose.test_share=0 --set"
        " compose.validation_share=0`"
        if latest is None
        else "build in a new workspace (-w): what a version held out stays held out in all later"
        " ones"
    )
    n_held = sum(map(len, division.held_out.values()))
    raise NothingToDo(
        f"no pair is left to train on: of {n_pairs:,} pairs {n_held:,} are held out and"
        f" {len(division.verdicts):,} are too close to them",
        f"add sources that differ more, or {advice}",
    )


def _add(
    context: Context,
    composed: Composed,
    division: Division,
    pairs: Sequence[Pair],
    system: str = "",
) -> Composed:
    """Add pairs to train, without those too close to a held-out pair."""
    if not pairs:
        return composed
    settings = context.recipe.compose
    with context.workspace.store.writing() as tx:
        left, verdicts = purge(tx, {**division.held_out, "train": pairs}, settings, context.now)
    composed = replace(composed, verdicts=[*composed.verdicts, *verdicts])
    return with_train(composed, left["train"], settings, context.now, system)


def _step(context: Context, lang: str) -> Step:
    """Return the step with its declared inputs."""
    store, recipe = context.workspace.store, context.recipe
    content_hash = f"SELECT {CONTENT_HASH.format('made_pairs')} FROM made_pairs WHERE {_KEPT}"
    state = fingerprint(
        store.value(f"{content_hash} AND origin <> 'disclosure'"),
        store.value("SELECT bit_xor(md5_number_lower(pair_id || score))::VARCHAR FROM pair_scores"),
        store.value(f"{EXCHANGES_HASH} WHERE {_KEPT} AND {JUDGED_SOURCE}"),
        recipe.compose.model_dump_json(),
        sorted(_shares(context).items()),
        recipe.persona.system_prompt(lang),
        f"{recipe.persona.name} {lang} {_may_disclose(context)}",
        *sorted(row.question + row.pair_id for row in follow_ups(context).values()),
    )
    return Step(context, "compose", fingerprint=state)


def _write(
    step: Step,
    composed: Composed,
    latest: Dataset | None,
    new: Disclosure | None,
    pairs: Sequence[Pair],
) -> Dataset:
    recipe = step.context.recipe
    dataset = composed.dataset
    known = step.context.workspace.first(Dataset, "id = ?", dataset.id)
    written = recipe.model_dump_json(exclude=_AFTER)
    if known is not None:
        # An earlier recipe may make an earlier version again.
        dataset = replace(known, used_at=dataset.used_at, recipe=known.recipe or written)
    else:
        dataset = replace(dataset, recipe=written, parent_id=latest.id if latest else None)
    limits = {
        "most": recipe.compose.max_pairs,
        "of_group": recipe.compose.max_group_pairs,
        "now": step.context.now,
    }
    persona = persona_facts(step.context)
    with step.writing() as tx:
        step.replace_verdicts(tx, composed.verdicts, {pair.id: pair.source_id for pair in pairs})
        if new is not None:
            if not tx.fetch("SELECT 1 FROM sources WHERE id = ?", [new.source.id]):
                tx.upsert([new.source])
            for rows in ([new.document], new.passages, new.questions, new.pairs, new.verdicts):
                tx.upsert(rows)
        tx.upsert([dataset])
        tx.upsert(composed.conversations)
        tx.upsert(composed.splits)
        selection.drop_unselected(tx, dataset.id, limits)
        tx.run("version_verdicts", {"dataset": dataset.id})
        freeze_version(tx, dataset.id, persona)
    return dataset


def _disclosure(context: Context, lang: str, own: Sequence[Conversation]) -> Disclosure | None:
    """Return exchanges that disclose the AI, in their share of the dataset's `own` ones."""
    if not _may_disclose(context):
        return None
    # A raw text has one message and no question.
    n_train = sum(row.split == "train" and len(row.messages) > 1 for row in own)
    n_pairs = round(context.recipe.compose.disclosure_share * n_train)
    return disclose(context.recipe.persona.name, lang, n_pairs, context.now)


def _may_disclose(context: Context) -> bool:
    """Tell whether the source of the disclosure is not withdrawn from this workspace."""
    return not context.workspace.sources("format = ? AND withdrawn_at IS NOT NULL", FORMAT)


def _shares(context: Context) -> dict[str, float]:
    """Return the share of each source that is mixed in, by source id."""
    sources = context.workspace.sources("mix_share IS NOT NULL AND withdrawn_at IS NULL")
    return {s.id: float(s.mix_share or 0) for s in sorted(sources, key=lambda s: s.id)}


def latest_dataset(context: Context) -> Dataset | None:
    """Return the dataset version composed last, or None; raise NothingToDo without a database."""
    return context.workspace.first(Dataset, "true ORDER BY used_at DESC LIMIT 1")


def refuse_withdrawn(context: Context, dataset_id: str) -> None:
    """Raise NothingToDo for a dataset that still holds pairs of a source withdrawn since."""
    titles = context.workspace.store.rows(
        "SELECT DISTINCT s.title FROM sources s JOIN pairs a ON a.source_id = s.id"
        " WHERE s.withdrawn_at IS NOT NULL AND a.id IN"
        " (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?) ORDER BY ALL",
        [dataset_id],
    )
    if titles:
        names = ", ".join(str(row["title"]) for row in titles)
        raise NothingToDo(
            f"dataset {dataset_id} contains sources that have been withdrawn since: {names}",
            "compose a new one with `memoirist compose`",
        )
