"""Find a dataset version by its name, and compare two of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import NothingToDo, QueryError
from memoirist.data.schema.records import Dataset
from memoirist.data.store.store import Fetched
from memoirist.data.store.transaction import Transaction, statement

if TYPE_CHECKING:
    from memoirist.data.store.store import Store
    from memoirist.flows.runtime.context import Context

_NAMES = ("latest", "previous")
_CHANGES = {
    "came": "came",
    "went": "went",
    "moved": "changed their split",
    "verdict": "left out by another rule",
}
_POLISHED = """
SELECT count(*) FROM pairs WHERE answer <> verbatim
AND id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
"""
_THRESHOLDS = "SELECT name, lang, value FROM thresholds ORDER BY name, lang"


_WITH_TOOLS = """
SELECT count(*) FROM conversations
WHERE dataset_id = ? AND (? IS NULL OR split = ?) AND tool_turns IS NOT NULL
"""


def find_version(store: Store, name: str = "latest") -> Dataset:
    """Return the version that `name` means: the beginning of an id, `latest` or `previous`.

    Raises NothingToDo without such a version, and QueryError for a beginning that several ids have.
    """
    versions = store.nouns(Dataset, "true ORDER BY used_at DESC, id")
    if not versions:
        raise NothingToDo("there is no dataset yet", "make one with `memoirist compose`")
    if name in _NAMES:
        found = versions[_NAMES.index(name) :][:1]
    else:
        found = [version for version in versions if name and version.id.startswith(name)]
    if not found:
        raise NothingToDo(
            f"there is no dataset version {name!r}",
            "`memoirist look versions` lists them; `latest` and `previous` name the newest two",
        )
    if len(found) > 1:
        ids = ", ".join(version.id for version in found)
        raise QueryError(f"several dataset versions begin with {name!r}", f"choose one of {ids}")
    return found[0]


def compare_versions(store: Store, names: tuple[str, str], n_examples: int) -> tuple[Fetched, str]:
    """Return what differs between two versions, and a summary of it in one line."""
    first, second = (find_version(store, name) for name in names)
    values = {"a": first.id, "b": second.id, "examples": n_examples}
    rows = store.fetch(statement("version_diff"), values)
    counts = dict.fromkeys(_CHANGES, 0)
    for change, _, n in {(row[0], row[1], row[2]) for row in rows.rows}:
        counts[change] += n
    parts = [f"{n:,} {_CHANGES[change]}" for change, n in counts.items() if n]
    recipe = store.value(statement("version_recipes"), first.id, second.id)
    return rows, (
        f"pairs from {first.id} to {second.id}: {', '.join(parts) or 'no difference'}"
        + (f"; recipe: {recipe}" if recipe else "")
    )


def persona_facts(context: Context) -> dict[str, Any]:
    """Return what the card of a dataset tells of the persona: name, languages, system prompt."""
    from memoirist.flows.runtime.context import persona_language

    persona, lang = context.recipe.persona, persona_language(context)
    return {
        "persona": persona.name or "the person of its sources",
        "languages": [lang],
        "system": persona.system_prompt(lang),
    }


def freeze_version(tx: Transaction, dataset_id: str, persona: dict[str, Any]) -> None:
    """Keep what an export shows of a version beside its messages, unless it is kept already.

    These are the lineage of its turns and the facts of its card: those of the persona, `sources`,
    `origins` (exchanges by origin), `drops` (subject, rule, n), `thresholds` (name, lang, value)
    and the number of `polished` answers, which are not verbatim.
    """
    if tx.fetch("SELECT 1 FROM version_cards WHERE dataset_id = ?", [dataset_id]):
        return
    tx.execute(statement("version_turns"), [dataset_id])
    sources = _rows(tx, statement("card_sources"), [dataset_id])
    origins = _rows(tx, statement("card_origins"), [dataset_id])
    facts = {
        **persona,
        "sources": sources,
        "origins": {row["origin"]: row["n"] for row in origins},
        "drops": _rows(tx, statement("card_drops"), [[row["id"] for row in sources]]),
        "thresholds": _rows(tx, _THRESHOLDS, []),
        "polished": tx.fetch(_POLISHED, [dataset_id])[0][0],
    }
    tx.execute("INSERT INTO version_cards VALUES (?, ?)", [dataset_id, json.dumps(facts)])


def _rows(tx: Transaction, sql: str, parameters: Sequence[object]) -> list[dict[str, Any]]:
    ((rows,),) = tx.fetch(f"SELECT to_json(list(t)) FROM ({sql}) t", parameters)
    found: list[dict[str, Any]] = json.loads(rows or "[]")
    return found


def tools_note(store: Store, dataset_id: str, split: str | None = None) -> str:
    """Return what to say of conversations with tools in an export that cannot hold them."""
    n = int(store.value(_WITH_TOOLS, dataset_id, split, split))
    return f"; {n:,} with tools left out, which only --format messages can hold" if n else ""
