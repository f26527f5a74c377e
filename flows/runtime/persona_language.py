"""The language that the persona speaks: the recipe's, or the passages' own."""

from __future__ import annotations

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.flows.runtime.context import Context


def persona_language(context: Context) -> str:
    """Return the recipe's language, or the one that most of the passages are in.

    Talks in which the persona does not speak have no passage, and so no vote.
    """
    if context.recipe.persona.lang != "auto":
        return context.recipe.persona.lang
    found = context.workspace.store.value(
        "SELECT d.lang FROM documents d JOIN sources s ON s.id = d.source_id JOIN ("
        " SELECT document_id, sum(n_words) AS size FROM cut_passages GROUP BY document_id"
        # To count the words of a million rows takes longer than all else here.
        " UNION ALL SELECT document_id, 80 * count(*) FROM exchanges GROUP BY document_id"
        ") t ON t.document_id = d.id WHERE d.lang <> 'und' AND s.mix_share IS NULL"
        f" AND s.withdrawn_at IS NULL AND s.format NOT IN {BY_HAND} GROUP BY d.lang"
        " ORDER BY sum(t.size) DESC, d.lang LIMIT 1"
    )
    return str(found or "en")
