"""Find what is cut out of all podcasts' turns before they are split: stock text, then ads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from memoirist.data.schema.records import Block, Cut, Done
from memoirist.data.transcripts.ads import VERSION, find_ads, find_breaks
from memoirist.data.transcripts.removed_spans import merged
from memoirist.data.transcripts.repeated_text import find_stock
from memoirist.flows.runtime.context import Context, fingerprint

_PODCASTS = (
    "SELECT b.id FROM blocks b JOIN documents d ON d.id = b.document_id JOIN sources s"
    " ON s.id = d.source_id WHERE s.kind = 'podcast' AND s.withdrawn_at IS NULL"
    " AND b.kind = 'turn'"
)


def find_cuts(context: Context) -> None:
    """Find the cuts anew when an episode has come, changed or gone.

    Which episodes are split again follows from their own cuts, not from this.
    """
    store = context.workspace.store
    settings = context.recipe.passages
    content = store.value(f"SELECT md5(string_agg(id, ',' ORDER BY id)) FROM ({_PODCASTS})")
    mark = fingerprint(
        content, settings.stock_min_words, settings.stock_min_episodes, settings.cut_ads, VERSION
    )
    if context.is_done("*", "cut", mark):
        return
    found = context.call("cut", "stock text", lambda: _find(context)) if content else []
    with store.writing() as tx:
        tx.execute("DELETE FROM cuts")
        tx.upsert(found)
        tx.upsert([Done(subject_id="*", step="cut", fingerprint=mark)])
    if found:
        words = store.value(
            "SELECT sum(len(string_split(substr(b.text, first_char + 1, last_char - first_char),"
            " ' '))) FROM cuts c JOIN blocks b ON b.id = c.block_id"
        )
        blocks = len({cut.block_id for cut in found})
        context.report.note(
            f"stock text and ads: {words:,} words in {blocks:,} turns are cut"
            " (`memoirist look dropped` shows whole turns; table cuts has all)"
        )


def _find(context: Context) -> list[Cut]:
    settings = context.recipe.passages
    found: dict[str, list[Cut]] = defaultdict(list)
    for block_id, cuts in find_stock(lambda: _episodes(context), settings).items():
        found[block_id] += cuts
    together: list[Cut] = []
    for _, blocks in _episodes(context):
        for cut in find_breaks(blocks) if settings.cut_ads else ():
            found[cut.block_id].append(cut)
        for block in blocks:
            cuts = [*found.get(block.id, ()), *(find_ads(block) if settings.cut_ads else ())]
            together += merged(block.id, cuts, block.text)
    return together


def _episodes(context: Context) -> Iterator[tuple[str, Sequence[Block]]]:
    """Give (document id, turns) a source at a time, so that one source's text is held at most."""
    store = context.workspace.store
    sources = store.rows(
        "SELECT id FROM sources WHERE kind = 'podcast' AND withdrawn_at IS NULL ORDER BY id"
    )
    for source in sources:
        turns = store.nouns(
            Block,
            "kind = 'turn' AND document_id IN (SELECT id FROM documents WHERE source_id = ?)"
            " ORDER BY document_id, ord",
            source["id"],
        )
        for document_id, blocks in groupby(turns, lambda block: block.document_id):
            yield document_id, list(blocks)
