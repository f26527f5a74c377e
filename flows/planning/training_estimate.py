"""Estimate a training before it starts: its tokens, memory and time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import UNFINISHED, Conversation
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import format_duration

if TYPE_CHECKING:
    from memoirist.train.requirements import BaseShape, Estimate, Machine, Work
    from memoirist.train.settings import TrainSettings
    from memoirist.train.token_stats import TokenPlan


# Share of trained tokens among those that `compose` estimates without the base's tokenizer.
_TRAINED_SHARE = 0.7
# Smaller shares of the memory are not listed.
_MIN_SHOWN_SHARE = 0.04


def token_lines(plan: TokenPlan) -> list[str]:
    """Return the token plan as lines."""
    shortened = f"; {plan.shortened:,} shortened" if plan.shortened else ""
    dropped = f"; {plan.dropped:,} too long and left out" if plan.dropped else ""
    passes = f", {plan.passes:,} forward passes per epoch" if plan.passes else ""
    return [
        f"{plan.rows:,} rows with {plan.tokens:,} tokens, {plan.trained:,} of them trained; longest"
        f" row: {plan.longest:,} tokens{shortened}{dropped}",
        f"{plan.steps:,} steps of {plan.effective_batch} rows ({plan.epochs:.3g} epochs{passes}),"
        f" learning rate {plan.learning_rate:.2g}; {plan.held_out:,} held-out rows, evaluated every"
        f" {plan.every:,} steps",
    ]


def estimate_lines(
    context: Context, shape: BaseShape, plan: TokenPlan, settings: TrainSettings
) -> list[str]:
    """Return the estimate of memory and time as lines, with advice where memory is short."""
    from memoirist.train.requirements import estimate, this_machine

    machine = this_machine(shape.width)
    work = training_work(plan, settings)
    result = estimate(shape, settings, work, machine)
    lines = [_memory_line(result, machine), _time_line(context, result, work)]
    if result.memory_bytes > machine.memory_bytes:
        smaller = "cpu" if machine.kind == "cpu" else "8gb"
        lines.append(
            f"that is more than the {_gb(machine.memory_bytes)} that this {machine.name} has: try"
            f" --preset {smaller}, a smaller base or a lower train.max_length"
        )
    return lines


def training_lines(context: Context, rows: Sequence[Conversation]) -> list[str]:
    """Return the plan of a training as lines, with exact token counts if the base is prepared.

    For a base that is not on this machine, only its configuration is downloaded, if it can be.
    """
    from memoirist.train.model.prepared_base import prepare_base
    from memoirist.train.requirements import refuse_unfit, shape_of
    from memoirist.train.token_stats import preview

    settings, bases = context.recipe.train, context.workspace.bases
    if settings.base_model == "tiny" or _is_prepared(settings.base_model, bases):
        base = prepare_base(settings.base_model, bases)
        plan, shape = preview(rows, base, settings).plan, shape_of(str(base.path))
        refuse_unfit(shape, settings, plan.longest)
        return [*token_lines(plan), *estimate_lines(context, shape, plan, settings)]
    try:
        shape = shape_of(settings.base_model)
    except TrainError as error:
        return [f"no estimate: {error.what}"]
    refuse_unfit(shape, settings)
    plan = estimated_plan(rows, shape, settings)
    tokens, *more = token_lines(plan)
    estimate = estimate_lines(context, shape, plan, settings)
    return [f"about {tokens} (estimated without the base's tokenizer)", *more, *estimate]


def refuse_missing_layers(context: Context) -> None:
    """Raise TrainError for `train.target_modules` that the base lacks, before a build costs money.

    With the default no library is loaded; an unreadable base is reported later.
    """
    settings = context.recipe.train
    if settings.target_modules == "all-linear":
        return
    from memoirist.train.requirements import refuse_unfit, shape_of

    try:
        shape = shape_of(settings.base_model)
    except TrainError:
        return
    refuse_unfit(shape, settings)


def _is_prepared(base_model: str, bases: Path) -> bool:
    return any(
        json.loads(manifest.read_text("utf-8")).get("name") == base_model
        for manifest in bases.glob("*/prepared.json")
    )


def training_work(plan: TokenPlan, settings: TrainSettings) -> Work:
    """Return the tokens that a training sends through the model."""
    from memoirist.train.requirements import Work

    settings = settings.resolved()
    saves = plan.steps // max(1, plan.every) + 1
    n_answers = (settings.answers_per_save + len(settings.prompts)) * saves
    rows = min(plan.micro_batch or 1, plan.effective_batch or 1)
    # With packing, a pass holds at most the rows of its step.
    of_step = 1.2 * plan.effective_batch * plan.tokens / max(1, plan.rows)
    return Work(
        train_tokens=plan.tokens * plan.epochs,
        held_out_tokens=plan.held_out_tokens * (saves + 1),
        pass_tokens=max(plan.longest, min(rows * plan.longest, round(of_step))),
        trained_share=plan.trained / max(1, plan.tokens),
        answer_tokens=n_answers * settings.answer_tokens,
    )


def estimated_plan(
    conversations: Sequence[Conversation], shape: BaseShape, settings: TrainSettings
) -> TokenPlan:
    """Return a token plan from the token counts that `compose` estimated."""
    from memoirist.train.token_stats import TokenPlan

    settings = settings.resolved()
    lengths: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for row in conversations:
        lengths[row.split].append(min(row.n_tokens, settings.max_length))
    rows, held_out = lengths["train"], lengths["validation"]
    effective = max(1, min(settings.effective_batch, len(rows)))
    per_epoch = max(1, math.ceil(len(rows) / effective))
    steps = max(3 * per_epoch, settings.min_steps)
    if settings.epochs is not None:
        steps = max(1, round(settings.epochs * per_epoch))
    return TokenPlan(
        rows=len(rows),
        held_out=len(held_out),
        tokens=sum(rows),
        trained=round(sum(rows) * _TRAINED_SHARE),
        held_out_tokens=sum(held_out),
        longest=max([*rows, *held_out], default=0),
        shortened=0,
        dropped=0,
        steps=steps,
        epochs=steps / per_epoch,
        effective_batch=effective,
        micro_batch=settings.micro_batch,
        passes=None,
        every=settings.save_every or max(1, steps // 10),
        learning_rate=settings.rate(shape.n_parameters, shape.width),
    )


def _memory_line(result: Estimate, machine: Machine) -> str:
    parts = [
        f"{name} {_gb(size)}"
        for name, size in sorted(result.parts.items(), key=lambda part: -part[1])
        if name != "loading" and size >= _MIN_SHOWN_SHARE * result.memory_bytes
    ]
    more = " plus the share of the driver" if machine.kind == "cuda" else ""
    return (
        f"estimate: memory about {_gb(result.memory_bytes)}{more} of {_gb(machine.memory_bytes)}"
        f" ({', '.join(parts)})"
    )


def _time_line(context: Context, result: Estimate, work: Work) -> str:
    """Return the time by the speed of the last run on this base, or of a matrix product."""
    from memoirist.train.requirements import STARTING_SECONDS

    store = context.workspace.store
    speed = None
    if store.path.exists():
        speed = store.value(
            "SELECT median(value) FROM metrics WHERE name = 'tokens_per_second' AND run_id ="
            f" (SELECT id FROM runs WHERE base_model = ? AND status NOT IN {UNFINISHED}"
            " ORDER BY started_at DESC LIMIT 1)",
            context.recipe.train.base_model,
        )
    if not speed:
        low, high = map(format_duration, result.seconds)
        return (
            f"estimate: time {low} to {high} if nothing else runs here, from the speed of a matrix"
            " product just measured"
        )
    seconds = work.train_tokens / speed + STARTING_SECONDS
    return (
        f"estimate: time about {format_duration(0.8 * seconds)} to"
        f" {format_duration(1.5 * seconds)}, from the {speed:,.0f} tokens/s of the last run on this"
        " base"
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
