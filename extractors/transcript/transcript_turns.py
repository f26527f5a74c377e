"""Extract episodes, their turns and what was wrong with them, from any transcript format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Block, Document, Rows, Source, Verdict, content_id
from memoirist.extractors.blocks import blocks_of
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.transcript.feeds.feed_index import episode_at
from memoirist.extractors.transcript.formats.base import Fault, Script
from memoirist.extractors.transcript.reading import doubt_of
from memoirist.extractors.transcript.turns import turns

_HERE = "memoirist.extractors.transcript."
# Which function reads a file of each format; loaded when the format is met.
_READERS = {
    "vtt": "formats.captions:read_captions",
    "srt": "formats.captions:read_captions",
    "whisper": "formats.transcript_json:read_entries",
    "podcast-json": "formats.transcript_json:read_entries",
    "podlove": "formats.transcript_json:read_entries",
    "conversation": "conversations:read_conversations",
    "podcast-html": "formats.podcast_html:read_podcast_html",
    "turn-table": "formats.turn_table:read_turn_table",
    "dialogue": "formats.dialogue:read_dialogue",
}


def names(path: Path) -> tuple[str | None, str | None]:
    """Return the title that the feed or the front matter gives an episode, and no author."""
    if episode := episode_at(path):
        return episode.title, None
    if path.suffix.lower() in {".md", ".markdown", ".txt"}:
        from memoirist.extractors.transcript.formats.dialogue import names_of

        return names_of(path)[0], None
    return None, None


def extract_transcript(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the episodes of a transcript; raise SourceUnreadable where it has no words."""
    module, function = _READERS[source.format].split(":")
    read: Callable[[Path], list[Script]] = getattr(import_module(_HERE + module), function)
    scripts = read(Path(source.location))
    documents: list[Document] = []
    blocks: list[Block] = []
    verdicts = [_verdict(source, fault) for script in scripts for fault in script.faults]
    if doubt := doubt_of(Path(source.location)):
        verdicts.append(_verdict(source, _encoding(doubt)))
    for script in scripts:
        own, document, cuts = _episode(source, script, settings)
        if own:
            documents.append(document)
            blocks += own
            verdicts += cuts
    if not any(block.kind == "turn" for block in blocks):
        raise SourceUnreadable(
            f"the transcript {source.location!r} has no cues with words", _expected(source.format)
        )
    return Rows(documents=documents, blocks=blocks, verdicts=verdicts)


def _encoding(doubt: str) -> Fault:
    return Fault(
        where="encoding",
        rule="encoding",
        reason=doubt,
        next_step="check the accents, or save the file as UTF-8",
        keep=True,
    )


def _expected(name: str) -> str:
    if name in {"vtt", "srt"}:
        return "give a file with lines such as 00:01.000 --> 00:04.000 and words behind them"
    return "check that the file is whole and says what was spoken"


def _episode(
    source: Source, script: Script, settings: ExtractSettings
) -> tuple[list[Block], Document, list[Verdict]]:
    episode = episode_at(Path(source.location))
    title = script.title or source.title or Path(source.location).stem
    key = title if script.key is None else f"{script.key}\x1f{title}"
    document = Document(
        id=content_id(source.id, key),
        source_id=source.id,
        title=title,
        published=script.published or (episode.published if episode else None),
    )
    found = turns(script.cues, settings)
    blocks = blocks_of(document.id, [draft for draft, _ in found])
    cuts = [cut for draft, cut in found if draft.text.strip()]
    verdicts = [_cut(block, cut) for block, cut in zip(blocks, cuts, strict=True) if cut]
    return blocks, document, verdicts


def _cut(block: Block, cut: Sequence[str]) -> Verdict:
    told = ", ".join(dict.fromkeys(cut))
    return Verdict(
        subject_id=block.id,
        subject="blocks",
        rule="stage_direction",
        keep=True,
        score=float(len(cut)),
        reason=f"cut out of the turn: {told[:200]}",
        created_at=datetime.now(UTC),
        next_step="nothing: the words that were spoken stay",
    )


def _verdict(source: Source, fault: Fault) -> Verdict:
    return Verdict(
        subject_id=content_id(source.id, fault.where),
        subject="blocks",
        rule=fault.rule,
        keep=fault.keep,
        reason=f"{fault.where}: {fault.reason}",
        next_step=fault.next_step,
        created_at=datetime.now(UTC),
    )
