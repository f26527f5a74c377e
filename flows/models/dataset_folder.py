"""Write a dataset version as a folder that hubs and `datasets.load_dataset` read, and push it.

The card is Markdown under the YAML that names the splits
(https://huggingface.co/docs/hub/datasets-cards,
https://huggingface.co/docs/hub/datasets-manual-configuration).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from memoirist.data.composition.export_formats import replacing
from memoirist.data.provenance.rights import hub_licence
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Dataset
from memoirist.data.store.transaction import statement
from memoirist.data.templates import render
from memoirist.flows.models.model_promotion import require_workspace
from memoirist.flows.models.model_registry import refuse_without_rights
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.versions import find_version

Facts = Mapping[str, Any]
CARD = "README.md"
# The files of the rows, by split.
FILES = {split: f"data/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")}
# The hub's names of sizes, by the number of rows that is above each.
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_COPY = f"COPY ({statement('dataset_rows')}) TO $3 (FORMAT parquet, COMPRESSION zstd)"
_POLISHED = """
SELECT count(*) FROM pairs WHERE answer <> verbatim
AND id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
"""
_HAS_THRESHOLDS = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'thresholds'"


def write_dataset(
    context: Context, dataset: Dataset, folder: Path, split: str | None = None
) -> int:
    """Write a version's rows and its card, or those of one split; return the number of rows.

    Files of a former export that this one does not have are removed. The card comes last: without
    it the folder names no split.
    """
    facts = _facts(context, dataset, split)
    files = {row["split"]: row["file"] for row in facts["splits"]}
    (folder / CARD).unlink(missing_ok=True)
    n_rows = 0
    for name, file in FILES.items():
        if name not in files:
            (folder / file).unlink(missing_ok=True)
            continue
        with replacing(folder / file) as partial_path:
            values = [dataset.id, name, str(partial_path)]
            n_rows += context.workspace.store.value(_COPY, *values)
    with replacing(folder / CARD) as partial_path:
        partial_path.write_text(dataset_card(facts), encoding="utf-8")
    return n_rows


def push_dataset(context: Context, name: str, repository: str, *, public: bool) -> str:
    """Save a dataset version with its card to a hub repository, if its sources' rights permit."""
    from memoirist.train.export.hub_upload import push, refuse_name

    refuse_name(repository)
    require_workspace(context)
    dataset = find_version(context.workspace.store, name)
    refuse_without_rights(context, dataset.id, f"dataset {dataset.id}")
    folder = context.workspace.exports / f"dataset-{dataset.id}"
    shutil.rmtree(folder, ignore_errors=True)
    n_rows = write_dataset(context, dataset, folder)
    message = f"Memoirist dataset {dataset.id}"
    upload = partial(push, folder, repository, public=public, message=message, kind="dataset")
    address = context.call("push", repository, upload)
    visibility = "public" if public else "private"
    context.report.step(
        "push", f"{n_rows:,} rows of dataset {dataset.id} -> {address} ({visibility})"
    )
    return address


def _facts(context: Context, dataset: Dataset, split: str | None) -> Facts:
    """Return what the store knows of a dataset version, by the names in the card's template.

    `splits` have split, conversations, exchanges, tokens, and the path of their rows as `file`;
    `thresholds` name, lang and value. `polished` answers are not verbatim.
    """
    store, persona = context.workspace.store, context.recipe.persona
    splits = store.rows(statement("dataset_splits"), [dataset.id])
    splits = [
        {**row, "file": FILES[row["split"]]} for row in splits if split in {None, row["split"]}
    ]
    if not splits:
        raise NothingToDo(
            f"no conversation has the split {split!r}", "use train, validation or test"
        )
    sources = store.rows(statement("card_sources"), [dataset.id])
    origins = store.rows(statement("card_origins"), [dataset.id])
    language = persona_language(context)
    return {
        "id": dataset.id,
        "created_at": f"{dataset.created_at:%Y-%m-%d}",
        "persona": persona.name or "the person of its sources",
        "languages": [language],
        "splits": splits,
        "sources": sources,
        "origins": {row["origin"]: row["n"] for row in origins},
        "drops": store.rows(statement("card_drops"), [[row["id"] for row in sources]]),
        "thresholds": _thresholds(context),
        "polished": store.value(_POLISHED, dataset.id),
        "system": persona.system_prompt(language),
    }


def _thresholds(context: Context) -> Sequence[dict[str, Any]]:
    """Return the thresholds that the tables name, else the recipe's."""
    store = context.workspace.store
    rows: list[dict[str, Any]] = []
    if store.value(_HAS_THRESHOLDS):
        rows = store.rows("SELECT name, lang, value FROM thresholds ORDER BY name, lang")
    numbers = _numbers("curate", context.recipe.curate)
    return rows or [{"name": name, "lang": None, "value": value} for name, value in numbers]


def _numbers(name: str, settings: BaseModel) -> Iterator[tuple[str, float]]:
    """Yield the numbers of settings by their recipe keys."""
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            yield from _numbers(f"{name}.{key}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{name}.{key}", value


def dataset_card(facts: Facts) -> str:
    """Return the card, with all that comes from sources escaped."""
    n_rows = sum(split["conversations"] for split in facts["splits"])
    data_files = [{"split": split["split"], "path": split["file"]} for split in facts["splits"]]
    front = {
        "pretty_name": " ".join(f"Interviews with {facts['persona']}".split()),
        "language": facts["languages"],
        **hub_licence(facts["sources"]),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for limit, name in _SIZES if n_rows < limit), "n>10M")],
        "tags": ["memoirist", "persona", "conversational", "sft"],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    origins = facts["origins"]
    values = {
        "f": facts,
        "front": yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        "thousands": "{:,}".format,
        "mixed": [source["title"] for source in facts["sources"] if source.get("mix_share")],
        "written": origins.get("generated", 0) + origins.get("template", 0),
    }
    return render(Path(__file__).parent / "dataset_card.md.j2", values)
