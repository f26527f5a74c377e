"""A workspace with a model in it that costs a second to make: the tiny base itself is the model."""

from __future__ import annotations

import json
from pathlib import Path

from memoirist.data.schema.records import Dataset, Model, Run
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.support.rows import NOW

PERSONA = "Edith Thackwray"
RUN = "0123456789abcdef"


def workspace(folder: Path) -> Context:
    """Return the context of a composed dataset and a run whose merged model is its base."""
    from memoirist.train.model.prepared_base import prepare_base

    wanted = {"persona.name": PERSONA, "persona.lang": "en"}
    context = Context(Workspace(folder / "workspace"), load(None, wanted), Report(quiet=True))
    things = ("mill", "river", "bread", "lamp", "school")
    rows = [
        {
            "question": f"What was the {a} to the {b}?",
            "response": f"The {a} was there, and the {b}.",
        }
        for a in things
        for b in things
    ]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    extract_sources(context, [str(path)])
    for step in (split_documents, ask_questions, curate_pairs, compose_dataset):
        step(context)
    (dataset,) = context.workspace.store.nouns(Dataset)
    base = prepare_base("tiny", context.workspace.bases)
    run = Run(
        id=RUN,
        dataset_id=dataset.id,
        base_model="tiny",
        recipe=context.recipe.model_dump_json(),
        seed=42,
        status="evaluated",
        started_at=NOW,
    )
    model = Model(
        run_id=RUN,
        adapter_path="",
        merged_path=context.workspace.relative(base.path),
        dtype="float32",
        champion=True,
    )
    with context.workspace.store.writing() as tx:
        tx.upsert([run])
        tx.upsert([model])
    return context
