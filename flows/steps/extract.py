"""Extract every new or changed source into documents and blocks, or into exchanges.

A source is known by its place and its bytes: it keeps its id when it moves, or when it changes in
its place. A refused source gets a verdict.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath

from memoirist.data.passages.settings import PassageSettings
from memoirist.data.schema.errors import PrivateAddress, SourceError, SourceMissing
from memoirist.data.schema.records import Block, Document, Fault, Rows, Source, content_id
from memoirist.data.store import exchanges
from memoirist.data.store.transaction import Transaction
from memoirist.data.text import personal_data
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.masking import mask_text
from memoirist.data.text.secrets import secret_candidate
from memoirist.data.transcripts import speakers
from memoirist.extractors import (
    ExtractSettings,
    SourceRef,
    discover,
    extract,
    read_source,
    skipped_files,
)
from memoirist.extractors.chat.chat_turns import ANONYMISED
from memoirist.extractors.detection.discover import is_url, printable, ref_of
from memoirist.extractors.source_reader import BY_CONTENT, missing_source
from memoirist.extractors.transcript.formats.time_order import TIME_NOTES
from memoirist.flows.recipe import Mixed, Recipe
from memoirist.flows.rights_ledger import warn_of_obstacles, with_rights
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import counted as _count
from memoirist.flows.steps.base import Step, fingerprint

_SHOWN_NAMES = 8
# Settings without which the rows of all other kinds stay as they are.
_CHAT_KEYS = {"chat_gap_hours", "chat_join_minutes", "anonymise"}


def extract_sources(
    context: Context, pointers: Sequence[str] | None = None, required: Sequence[str] | None = None
) -> None:
    """Extract every source that is new or has changed; a refused one gets a verdict and a warning.

    `pointers` default to the recipe's sources, `required` to the pointers. If all `required` ones
    fail, the first one's error is raised; a source that is gone since an earlier build does not
    stop the run.
    """
    mixed = {mix.source: mix for mix in context.recipe.sources.mix}
    pointers = context.recipe.sources.include if pointers is None else pointers
    pointers = list(dict.fromkeys([*pointers, *mixed]))
    files_of, failures = _discover_all(context, pointers)
    mix_of = {file: mixed.get(pointer) for pointer in files_of for file in files_of[pointer]}
    labels = short_names([file.location for file in mix_of])
    refused: dict[SourceRef, SourceError] = {}
    for file, mix in mix_of.items():
        try:
            _extract_one(context, file, mix, labels[file.location])
        except SourceError as error:
            refused[file] = error
            refuse(context, file.location, error)
    for pointer, files in files_of.items():
        if files and all(file in refused for file in files):
            failures[pointer] = refused[files[0]]
    required = list(pointers if required is None else required)
    if required and all(pointer in failures for pointer in required):
        raise failures[required[0]]
    for message in dict.fromkeys(map(str, [*failures.values(), *refused.values()])):
        context.report.warn(message)
    _note_skipped_files(context, pointers)
    warn_of_obstacles(context)
    if "extract" not in context.changed:
        context.report.step("extract", f"nothing new in {_count(len(mix_of), 'source')}")


def _discover_all(
    context: Context, pointers: Sequence[str]
) -> tuple[dict[str, list[SourceRef]], dict[str, SourceError]]:
    """Return the files of each pointer, or its error; a source that is gone gets a verdict."""
    files_of: dict[str, list[SourceRef]] = {}
    failures: dict[str, SourceError] = {}
    for pointer in pointers:
        try:
            if is_url(pointer):
                files_of[pointer] = take_feed(context, pointer)
            else:
                files_of[pointer] = discover([pointer], context.workspace.unpacked)
        except SourceError as error:
            failures[pointer] = error
            is_file = not is_url(pointer) and known_source(context, pointer) is not None
            if is_file or isinstance(error, PrivateAddress):
                refuse(context, pointer, error)
    for source in _removed_sources(context, list(files_of)):
        failures[source.location] = SourceMissing(
            missing_source(source.location).what,
            f"put it back, or leave it out: `memoirist withdraw {source.id}`",
        )
        refuse(context, source.location, failures[source.location])
    return files_of, failures


def _removed_sources(context: Context, pointers: Sequence[str]) -> list[Source]:
    """Return the sources that an earlier build read from a folder and that are gone now."""
    folders = {Path(pointer).expanduser().resolve() for pointer in pointers if "://" not in pointer}
    folders.add(context.workspace.unpacked.resolve())
    return [
        source
        for source in context.workspace.sources("withdrawn_at IS NULL AND sha256 <> ''")
        if folders.intersection(Path(source.location).parents)
        and not Path(source.location).exists()
    ]


def _note_skipped_files(context: Context, pointers: Sequence[str]) -> None:
    """Report the files in the given folders that are not read."""
    skipped = skipped_files(pointers, context.workspace.unpacked)
    names = sorted(short_names([printable(path) for path in skipped]).values())
    if not names:
        return
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    context.report.note(
        f"{', '.join(names[:_SHOWN_NAMES])}{more} in the given folders and archives are left out:"
        " they describe the folder, or their format is unknown; name such a file itself to read it"
    )


def _extract_one(context: Context, file: SourceRef, mix: Mixed | None, label: str) -> None:
    read = read_source(file, context.now)
    source = with_known_id(context, read)
    if source is None:
        context.report.warn(
            f"{read.location} has the same content as another source and is skipped"
        )
        return
    if source.withdrawn_at is not None:
        note_withdrawn(context, source, label)
        return
    source = replace(source, mix_share=mix.share if mix else None)
    settings = _settings(context, mix)
    step = Step(context, "extract", source.id, _fingerprint(context, file, source, settings))
    if step.is_done:
        _update_source(context, with_rights(source, (), context.recipe.sources.ledger))
        return
    with context.report.progress("extract", "pages") as advance:
        # Ids must not depend on a title that the user wrote into the ledger.
        function = partial(
            extract,
            replace(source, title=read.title),
            settings,
            lambda done, total: advance(done, total, label),
        )
        rows = step.call(label, function)
    for verdict in rows.verdicts:
        if verdict.rule == BY_CONTENT:
            context.report.note(f"{label} is {verdict.reason}")
        elif verdict.rule in {*TIME_NOTES, ANONYMISED}:
            context.report.note(f"{label}: {verdict.reason}")
    source = replace(source, title=rows.title or source.title)
    source = with_rights(source, rows.blocks, context.recipe.sources.ledger)
    if rows.exchanges is not None:
        _write_exchanges(step, source, rows, label)
    else:
        _write_blocks(step, source, rows, label)


def _fingerprint(
    context: Context, file: SourceRef, source: Source, settings: ExtractSettings
) -> str:
    other_kinds = set() if source.kind == "chat" else _CHAT_KEYS
    chosen = settings.model_dump_json(exclude={"workers", *other_kinds})
    inputs = [source.sha256, chosen, file.format]
    if source.kind == "chat" and settings.anonymise:
        inputs.append(fingerprint(*settings.own_names))
    if source.kind == "dataset":
        columns, fill = sorted(settings.columns.items()), sorted(settings.fill.items())
        passages = context.recipe.passages
        masks = (passages.mask_personal, passages.mask_secrets)
        more = (columns, settings.text_as, fill, settings.persona, *masks)
        inputs.append(fingerprint(*more))
        # Without, what an earlier release has read stays as it is.
        inputs += ["tools"] * settings.keep_tools
    return fingerprint(*inputs)


def _settings(context: Context, mix: Mixed | None) -> ExtractSettings:
    """Return the recipe's settings of the step, with the settings for datasets.

    Raw texts that are mixed in get no questions.
    """
    sources = context.recipe.sources
    values: dict[str, object] = {
        "columns": sources.map,
        "text_as": "completion" if mix else sources.text_as,
        "keep_tools": mix is not None and mix.tools,
        "fill": sources.fill,
        "persona": context.recipe.persona.name,
        "own_names": _own_names(context.recipe),
        "ocr_folder": str(context.workspace.root / "ocr"),
    }
    if sources.extract.ocr and not sources.extract.ocr_languages:
        values["ocr_languages"] = [context.recipe.persona.lang or "en"]
    return sources.extract.model_copy(update=values)


def _own_names(recipe: Recipe) -> list[str]:
    """Return the persona's name, aliases and the labels that the recipe says are the persona."""
    persona = recipe.persona
    names = list(filter(None, [persona.name, *persona.aliases]))
    mapped = recipe.sources.speakers.items()
    labels = [label for label, name in mapped if speakers.is_called(name, names)]
    return [*names, *labels, *(label.rpartition(":")[2] for label in labels if ":" in label)]


def _update_source(context: Context, source: Source) -> None:
    """Write the row of a source that has moved, or that is readable again."""
    store = context.workspace.store
    refused = "SELECT count(*) FROM verdicts WHERE subject = 'sources' AND subject_id = ?"
    if source not in store.nouns(Source, "id = ?", source.id) or store.value(refused, source.id):
        with store.writing() as tx:
            tx.upsert([source])
            clear_refusal(tx, source.id)


def _write_blocks(step: Step, source: Source, rows: Rows, label: str) -> None:
    with step.writing() as tx:
        _delete_rows(tx, source.id)
        tx.upsert([source])
        tx.upsert(_with_languages(rows.documents, rows.blocks))
        tx.upsert(rows.blocks)
        step.replace_verdicts(tx, rows.verdicts, source.id)
    step.finish(len(rows.blocks), f"{label}: {_summary(rows)}")


def _write_exchanges(step: Step, source: Source, rows: Rows, label: str) -> None:
    """Write a dataset's rows while reading them: a million rows do not fit into a list."""
    (document,) = rows.documents
    masking = _masking(step.context.recipe.passages, document.lang or "en")
    with step.writing(finished=False) as tx:
        _delete_rows(tx, source.id)
        step.replace_verdicts(tx, rows.verdicts, source.id)
        exchanges.take(tx, source, rows, masking, step.context.now)
        tx.upsert([source])
        tx.upsert([document])
    with step.writing() as tx:
        counts = exchanges.sweep(tx, source.id)
    message = f"{rows.told}; {_count(counts.rows, 'row')}, {_count(counts.exchanges, 'exchange')}"
    if counts.refused:
        rules = ", ".join(f"{n:,} {rule}" for rule, n, _ in counts.faults)
        message += f"; {_count(counts.refused, 'row')} refused ({rules})"
    step.finish(counts.exchanges, f"{label}: {message}")
    if counts.faults:
        step.context.report.note(counts.faults[0][2])
    for rule, n, reason in counts.left_out:
        step.context.report.note(f"{n:,} {rule}: {reason}")


def _masking(settings: PassageSettings, lang: str) -> exchanges.Masking | None:
    """Return how the exchanges of a dataset are masked, None where nobody wants it."""
    personal, secrets = settings.mask_personal, settings.mask_secrets
    if not (personal or secrets):
        return None
    return exchanges.Masking(
        lambda text: mask_text(text, lang, personal=personal, secrets=secrets),
        personal_data.candidate(lang) if personal else "",
        secret_candidate() if secrets else "",
    )


def _summary(rows: Rows) -> str:
    kinds = Counter(block.kind for block in rows.blocks)
    blocks = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common(6))
    pages = max((block.page_last or block.page or 0 for block in rows.blocks), default=0)
    unit = f"{pages} pages" if pages else _count(len(rows.documents), "document")
    n_dropped = sum(not verdict.keep for verdict in rows.verdicts)
    noun = "page" if pages else "row"
    by_rule = ""
    if any(block.kind == "turn" for block in rows.blocks):
        noun = "message"
        rules = Counter(verdict.rule for verdict in rows.verdicts if not verdict.keep)
        by_rule = f" ({', '.join(f'{n:,} {rule}' for rule, n in rules.most_common(6))})"
    dropped = f"; {_count(n_dropped, noun)} set aside{by_rule}" if n_dropped else ""
    row_format = f"{rows.told}; " if rows.told else ""
    return f"{row_format}{unit}, {_count(len(rows.blocks), 'block')} ({blocks}){dropped}"


def _with_languages(documents: Sequence[Document], blocks: Sequence[Block]) -> list[Document]:
    text: dict[str, str] = defaultdict(str)
    for block in blocks:
        if block.kind in {"paragraph", "turn"} and len(text[block.document_id]) < 20_000:
            text[block.document_id] += block.text + "\n"
    return [replace(d, lang=d.lang or detect_language(text[d.id])) for d in documents]


def _delete_rows(tx: Transaction, source_id: str) -> None:
    tx.execute(
        "DELETE FROM blocks WHERE document_id IN (SELECT id FROM documents WHERE source_id = ?)",
        [source_id],
    )
    tx.execute("DELETE FROM documents WHERE source_id = ?", [source_id])
    exchanges.forget(tx, source_id)
    clear_refusal(tx, source_id)


def short_names(locations: Sequence[str]) -> dict[str, str]:
    """Return for each location the shortest end of its path that no other location has.

    A location with a scheme is not shortened.
    """
    parts = {
        location: (location,) if "://" in location else PurePath(location.lstrip("/")).parts
        for location in locations
    }
    names: dict[str, str] = {}
    ambiguous, size = list(parts), 0
    while ambiguous:
        size += 1
        ends = {location: "/".join(parts[location][-size:]) for location in ambiguous}
        counts = Counter(ends.values())
        names |= ends
        ambiguous = [
            name for name in ambiguous if counts[ends[name]] > 1 and size < len(parts[name])
        ]
    return names


def take_feed(context: Context, url: str) -> list[SourceRef]:
    """Return the old and new transcripts of a feed; an episode without one gets a verdict.

    An unreachable feed is a warning if it has given transcripts before, else its SourceError.
    """
    from memoirist.extractors.transcript.feeds import feed_update

    known = known_source(context, url)
    if known is not None and known.withdrawn_at is not None:
        note_withdrawn(context, known, url)
        return []
    step = Step(context, "extract")
    with context.report.progress("extract", "episodes") as advance:
        limit = context.recipe.sources.limit
        function = partial(feed_update.update_feed, url, context.workspace.feeds, limit, advance)
        result = step.call("feed", function)
    files = [ref_of(path) for path in result.files]
    if result.fault is not None:
        if isinstance(result.fault, PrivateAddress):
            refuse(context, url, result.fault)
        context.report.warn(f"{result.fault}; its earlier episodes are kept")
        return files
    source = replace(known, title=result.source.title) if known else result.source
    with step.writing() as tx:
        tx.upsert([source])
        clear_refusal(tx, source.id)
        step.replace_verdicts(tx, result.verdicts, source.id)
    if result.n_new or result.n_changed or not known:
        missing = (
            f"; episodes without a transcript: {len(result.verdicts):,}" if result.verdicts else ""
        )
        changed = f" ({result.n_changed:,} of them changed)" if result.n_changed else ""
        n_old = len(files) - result.n_new
        counts = f"{result.n_new:,} new transcripts, {n_old:,} known before{changed}{missing}"
        step.report(f"{source.title}: {counts}")
    return files


def note_withdrawn(context: Context, source: Source, name: str) -> None:
    """Report that a source stays out because it is withdrawn."""
    context.report.note(
        f"{name} is withdrawn; `memoirist withdraw --undo {source.id}` brings it back"
    )


def with_known_id(context: Context, source: Source) -> Source | None:
    """Return the source with its id in the store; None for a second copy of a file.

    A source keeps its id when its content changes in place or when it moves unchanged, so that
    unchanged rows keep their questions and their split.
    """
    known = context.workspace.sources(
        "location = ? OR sha256 = ? OR id = ?", source.location, source.sha256, source.id
    )
    same_place = next((k for k in known if k.location == source.location), None)
    same_bytes = next((k for k in known if k.sha256 == source.sha256), same_place)
    if same_bytes is None:
        return replace(source, id=content_id(source.id, source.location)) if known else source
    path = Path(same_bytes.location)
    if same_bytes != same_place and path.exists() and path.resolve() != Path(source.location):
        return None
    # The content identifies a file that has moved, even to the place of another known file.
    return replace(
        same_bytes,
        kind=source.kind,
        format=source.format,
        location=source.location,
        sha256=source.sha256,
        # A refused source has its file's name as title.
        title=same_bytes.title if same_bytes.sha256 else source.title,
    )


def known_source(context: Context, pointer: str) -> Source | None:
    """Return the source that an earlier build took from a path or an address."""
    return next(iter(context.workspace.sources("location = ?", _location(pointer))), None)


def _location(pointer: str) -> str:
    return pointer if "://" in pointer else printable(Path(pointer).expanduser().resolve())


def refuse(context: Context, pointer: str, error: SourceError) -> None:
    """Write the verdict on a refused file; the rows of an earlier build stay."""
    path = Path(location := _location(pointer))
    source = known_source(context, pointer) or Source(
        id=content_id("refused", location),
        kind="podcast" if is_url(pointer) else "text",
        format="feed" if is_url(pointer) else path.suffix.lstrip("."),
        location=location,
        sha256="",
        added_at=context.now,
        title=printable(Path(path.name)),
    )
    fault = Fault(error.rule, error.what, error.next_step)
    verdict = fault.verdict("sources", source.id, context.now)
    with context.workspace.store.writing() as tx:
        tx.upsert([source])
        tx.upsert([replace(verdict, step="extract", source_id=source.id)])


def clear_refusal(tx: Transaction, source_id: str) -> None:
    """Delete the verdict that refused a source."""
    tx.execute("DELETE FROM verdicts WHERE subject = 'sources' AND subject_id = ?", [source_id])
