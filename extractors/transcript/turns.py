"""Merge the cues of a script into turns: one for what a speaker says until another speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from memoirist.extractors.blocks import Draft
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.transcript.formats.base import Cue
from memoirist.extractors.transcript.stage_directions import is_part, without_directions

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]」』]*$")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
# Below this share of cues that end a sentence, a transcript has no punctuation to go by.
_MIN_PUNCTUATED = 0.03


def turns(cues: Sequence[Cue], settings: ExtractSettings) -> list[tuple[Draft, list[str]]]:
    """Return the turns in order, each with the stage directions that were cut out of it.

    A turn that holds nothing else becomes boilerplate and keeps its text. Without a name, a
    dash, a pause or `turn_max_words` ends a turn, the last two only where a sentence ends.
    """
    ends = sum(_SENTENCE_END.search(cue.text) is not None for cue in cues)
    merging = _Merging(settings, punctuated=ends >= _MIN_PUNCTUATED * len(cues))
    drafts = [merging.turn(run) for run in merging.runs(cues)]
    found: list[tuple[Draft, list[str]]] = []
    for draft, following in zip(drafts, [*drafts[1:], None], strict=False):
        # Only the very next turn tells an end: where times are sparse, later ones are far away.
        if draft.end_seconds is None and draft.start_seconds is not None and following:
            draft = replace(draft, end_seconds=following.start_seconds)
        found.append(_directed(draft))
    return found


def _directed(draft: Draft) -> tuple[Draft, list[str]]:
    if draft.kind != "turn":
        return draft, []
    if draft.speaker is not None and is_part(draft.speaker):
        return replace(draft, kind="boilerplate"), []
    text, cut = without_directions(draft.text)
    if not re.search(r"\w", text):
        return replace(draft, kind="boilerplate"), []
    if draft.speaker is None and is_part(text):
        return replace(draft, kind="boilerplate"), []
    return replace(draft, text=text), cut


class _Merging:
    """Decides where a turn ends, and joins its cues."""

    def __init__(self, settings: ExtractSettings, *, punctuated: bool) -> None:
        self.settings = settings
        self.punctuated = punctuated

    def runs(self, cues: Sequence[Cue]) -> Iterator[list[Cue]]:
        """Give the cues of each turn."""
        run: list[Cue] = []
        for cue in cues:
            if run and self._ends(run, cue):
                yield run
                run = []
            run.append(cue)
        if run:
            yield run

    def _ends(self, run: Sequence[Cue], cue: Cue) -> bool:
        last = run[-1]
        if (cue.speaker, cue.kind, cue.chapter) != (last.speaker, last.kind, last.chapter):
            return True
        if cue.fresh or cue.kind == "heading":
            return True
        if cue.speaker is not None or cue.kind != "turn":
            return False
        if self.punctuated and not _SENTENCE_END.search(last.text):
            return False
        pause = cue.start is not None and last.end is not None
        if pause and (cue.start or 0) - (last.end or 0) > self.settings.turn_pause_seconds:
            return True
        return sum(len(each.text.split()) for each in run) > self.settings.turn_max_words

    def turn(self, run: Sequence[Cue]) -> Draft:
        """Return the draft of one turn, from its first second to its last."""
        return Draft(
            kind=run[0].kind,
            text=_joined(run),
            speaker=run[0].speaker,
            chapter=run[0].chapter,
            start_seconds=run[0].start,
            end_seconds=max((cue.end for cue in run if cue.end is not None), default=None),
        )


def _joined(run: Sequence[Cue]) -> str:
    text = run[0].text
    for cue in run[1:]:
        if cue.paragraph or cue.kind != "turn":
            text += "\n\n" + cue.text
        else:
            close = _CJK.match(text[-1:]) and _CJK.match(cue.text[:1])
            text += cue.text if close else " " + cue.text
    return text
