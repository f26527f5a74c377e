"""Write a dataset version as a folder that hubs and `datasets.load_dataset` read, and push it.

The card is Markdown under the YAML that names the splits
(https://huggingface.co/docs/hub/datasets-cards,
https://huggingface.co/docs/hub/datasets-manual-configuration).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from memoirist.data.atomic_write import replacing
from memoirist.data.provenance.rights import hub_licence
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Dataset
from memoirist.data.store.transaction import statement
from memoirist.data.templates import render
from memoirist.flows.models.model_promotion import require_workspace
from memoirist.flows.models.model_registry import refuse_without_rights
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import counted
from memoirist.flows.versions import find_version, freeze_version, persona_facts, tools_note

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
_CARD_FACTS = "SELECT facts FROM version_cards WHERE dataset_id = ?"


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
    message = f"Memoirist dataset {dataset.id}"
    # A folder of its own: what lies among the exports is the user's.
    with TemporaryDirectory(prefix=".push-", dir=context.workspace.root) as name:
        n_rows = write_dataset(context, dataset, folder := Path(name))
        upload = partial(push, folder, repository, public=public, message=message, kind="dataset")
        address = context.call("push", repository, upload)
    visibility = "public" if public else "private"
    context.report.step(
        "push",
        f"{counted(n_rows, 'row')} of dataset {dataset.id} -> {address} ({visibility})"
        + tools_note(context.workspace.store, dataset.id),
    )
    return address


def _facts(context: Context, dataset: Dataset, split: str | None) -> Facts:
    """Return the facts of a dataset version, by the names in the card's template.

    They are those that were kept when it was made; the rights of its sources are those of today.
    `splits` have split, conversations, exchanges, tokens, and the path of their rows as `file`.
    """
    store = context.workspace.store
    splits = store.rows(statement("dataset_splits"), [dataset.id])
    splits = [
        {**row, "file": FILES[row["split"]]} for row in splits if split in {None, row["split"]}
    ]
    if not splits:
        raise NothingToDo(
            f"no conversation has the split {split!r}", "use train, validation or test"
        )
    if not store.value(_CARD_FACTS, dataset.id):
        # It was made by an older version of the program.
        persona = persona_facts(context)
        with store.writing() as tx:
            freeze_version(tx, dataset.id, persona)
    facts = json.loads(store.value(_CARD_FACTS, dataset.id))
    rights = {row["id"]: row for row in store.rows("SELECT id, rights, rights_basis FROM sources")}
    return {
        **facts,
        "id": dataset.id,
        "created_at": f"{dataset.created_at:%Y-%m-%d}",
        "splits": splits,
        "sources": [{**row, **rights[row["id"]]} for row in facts["sources"]],
    }


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
