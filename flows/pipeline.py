"""List the steps of each command, in the order in which a build runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.evaluate import evaluate_model
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.follow_up import follow_pairs
from memoirist.flows.steps.judge import judge_pairs
from memoirist.flows.steps.merge import merge_model
from memoirist.flows.steps.polish import polish_answers
from memoirist.flows.steps.split import split_documents
from memoirist.flows.steps.train import train_model


def extract(context: Context, required: Sequence[str] | None = None) -> None:
    """Extract the recipe's sources and split them; raise an error if all `required` ones fail."""
    extract_sources(context, required=required)
    context.save_recipe()  # last, so that the recipe never holds a refused source
    split_documents(context)


STEPS: Mapping[str, Sequence[Callable[[Context], object]]] = {
    "ask": (ask_questions,),
    "curate": (polish_answers, curate_pairs, judge_pairs, follow_pairs),
    "compose": (compose_dataset,),
    "train": (train_model,),
    "merge": (merge_model,),
    "evaluate": (evaluate_model,),
}
# The commands of a build after `extract`: first the pairs, then the model.
PAIRS = ("ask", "curate")
MODEL = ("compose", "train", "merge", "evaluate")


def run_steps(context: Context, *commands: str) -> None:
    """Run the steps of the commands in the given order."""
    for command in commands:
        for step in STEPS[command]:
            step(context)
