"""Extract the episodes of a transcript: its cues become turns, one until another voice speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Block, Document, Rows, Source, Verdict, content_id
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.detection.format_registry import Progress, format_named, load
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.transcript.feeds.feed_index import episode_at
from memoirist.extractors.transcript.formats.base import Cue, Fault, Script, encoding_doubt
from memoirist.extractors.transcript.stage_directions import is_programme_part, remove_directions

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]」』]*$")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
# Below this share of cues that end a sentence, a transcript has no punctuation.
_MIN_PUNCTUATED = 0.03


def names(path: Path) -> tuple[str | None, str | None]:
    """Return the title that the feed or the front matter gives an episode, and no author."""
    if episode := episode_at(path):
        return episode.title, None
    if path.suffix.lower() in {".md", ".markdown", ".txt"}:
        from memoirist.extractors.transcript.formats.dialogue import title_of

        return title_of(path), None
    return None, None


def extract_transcript(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the episodes of a transcript; raise SourceUnreadable where it has no words."""
    path = Path(source.location)
    read: Callable[[Path], list[Script]] = load(format_named(source.format).reader or "")
    scripts = read(path)
    faults = [fault for script in scripts for fault in script.faults]
    if doubt := encoding_doubt(path):
        step = "check the accents, or save the file as UTF-8"
        faults.append(Fault("encoding", "encoding", doubt, step, keep=True))
    documents: list[Document] = []
    blocks: list[Block] = []
    verdicts = [_fault_verdict(source, fault) for fault in faults]
    for script in scripts:
        turns = [turn for turn in turns_of(script.cues, settings) if turn[0].text.strip()]
        if not turns:
            continue
        document = _document(source, script)
        own = blocks_of(document.id, [draft for draft, _ in turns])
        documents.append(document)
        blocks += own
        removed = zip(own, [directions for _, directions in turns], strict=True)
        verdicts += [_removal(block, directions) for block, directions in removed if directions]
    if not any(block.kind == "turn" for block in blocks):
        step = "check that the file is complete and contains speech"
        if source.format in {"vtt", "srt"}:
            step = "give a file with lines such as 00:01.000 --> 00:04.000 followed by words"
        raise SourceUnreadable(f"the transcript {source.location!r} has no cues with words", step)
    return Rows(documents=documents, blocks=blocks, verdicts=verdicts)


def _document(source: Source, script: Script) -> Document:
    episode = episode_at(Path(source.location))
    title = script.title or source.title or Path(source.location).stem
    key = title if script.key is None else f"{script.key}\x1f{title}"
    return Document(
        id=content_id(source.id, key),
        source_id=source.id,
        title=title,
        published=script.published or (episode.published if episode else None),
    )


def _removal(block: Block, directions: Sequence[str]) -> Verdict:
    return Verdict(
        subject_id=block.id,
        subject="blocks",
        rule="stage_direction",
        keep=True,
        score=float(len(directions)),
        reason=f"removed from the turn: {', '.join(dict.fromkeys(directions))[:200]}",
        created_at=datetime.now(UTC),
        next_step="nothing: the spoken words are kept",
    )


def _fault_verdict(source: Source, fault: Fault) -> Verdict:
    return Verdict(
        subject_id=content_id(source.id, fault.where),
        subject="blocks",
        rule=fault.rule,
        keep=fault.keep,
        reason=f"{fault.where}: {fault.reason}",
        next_step=fault.next_step,
        created_at=datetime.now(UTC),
    )


def turns_of(cues: Sequence[Cue], settings: ExtractSettings) -> list[tuple[Draft, list[str]]]:
    """Return the turns in order, each with the stage directions that are cut out of it.

    A turn that holds nothing else becomes boilerplate and keeps its text. Without a name, a
    dash, a pause or `turn_max_words` ends a turn, the last two only where a sentence ends.
    """
    drafts = [_draft(run) for run in _runs(cues, settings)]
    turns: list[tuple[Draft, list[str]]] = []
    for draft, following in zip_longest(drafts, drafts[1:]):
        # Only the very next turn tells an end: where times are sparse, later ones are far away.
        if draft.end_seconds is None and draft.start_seconds is not None and following:
            draft = replace(draft, end_seconds=following.start_seconds)
        turns.append(_without_directions(draft))
    return turns


def _without_directions(draft: Draft) -> tuple[Draft, list[str]]:
    if draft.kind != "turn":
        return draft, []
    text, directions = remove_directions(draft.text)
    is_part = is_programme_part(text if draft.speaker is None else draft.speaker)
    if is_part or not re.search(r"\w", text):
        return replace(draft, kind="boilerplate"), []
    return replace(draft, text=text), directions


def _runs(cues: Sequence[Cue], settings: ExtractSettings) -> Iterator[list[Cue]]:
    """Yield the cues of each turn."""
    n_ends = sum(_SENTENCE_END.search(cue.text) is not None for cue in cues)
    punctuated = n_ends >= _MIN_PUNCTUATED * len(cues)
    run: list[Cue] = []
    for cue in cues:
        if run and _ends_turn(run, cue, settings, punctuated=punctuated):
            yield run
            run = []
        run.append(cue)
    if run:
        yield run


def _ends_turn(
    run: Sequence[Cue], cue: Cue, settings: ExtractSettings, *, punctuated: bool
) -> bool:
    last = run[-1]
    if (cue.speaker, cue.kind, cue.chapter) != (last.speaker, last.kind, last.chapter):
        return True
    if cue.new_turn or cue.kind == "heading":
        return True
    if cue.speaker is not None or cue.kind != "turn":
        return False
    if punctuated and not _SENTENCE_END.search(last.text):
        return False
    pause = 0.0 if cue.start is None or last.end is None else cue.start - last.end
    n_words = sum(len(part.text.split()) for part in run)
    return pause > settings.turn_pause_seconds or n_words > settings.turn_max_words


def _draft(run: Sequence[Cue]) -> Draft:
    """Return the draft of one turn, from its first second to its last."""
    text = run[0].text
    for cue in run[1:]:
        if cue.paragraph or cue.kind != "turn":
            text += "\n\n" + cue.text
        else:
            is_cjk = _CJK.match(text[-1:]) and _CJK.match(cue.text[:1])
            text += cue.text if is_cjk else " " + cue.text
    return Draft(
        kind=run[0].kind,
        text=text,
        speaker=run[0].speaker,
        chapter=run[0].chapter,
        start_seconds=run[0].start,
        end_seconds=max((cue.end for cue in run if cue.end is not None), default=None),
    )
