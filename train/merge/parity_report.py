"""The parity report: what a merge has kept of the trained model, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from memoirist.train.merge.merged_weights import Way
from memoirist.train.merge.parity import Parity, Reference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def report(
    reference: Reference,
    found: Mapping[Way, Parity],
    best: Way,
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Return the report as Markdown: a table, then every prompt that is answered otherwise."""
    lines = [
        "# Merged model against base + adapter",
        "",
        "| | prompts | equal | draws | ended by itself | KL (nats a token) | loss |",
        "|---|---|---|---|---|---|---|",
        f"| base + adapter | {len(reference.prompts)} | | | {reference.stopped} | |"
        f" {reference.loss:.4f} |",
    ]
    for way, parity in found.items():
        kept = " (kept)" if way == best else ""
        lines.append(
            f"| {way}{kept} | {parity.prompts} | {parity.equal} | {parity.ties} |"
            f" {parity.stopped} | {parity.kl:.1e} | {parity.loss:.4f} |"
        )
    lines += [f"| base | | | | | | {reference.base_loss:.4f} |", ""]
    lines.append(
        "Answers were cut at `merge.max_new_tokens`; those that ended before did so by themselves."
        f" Loss on {len(reference.rows)} rows, in nats a trained token. A draw is an answer that"
        " parts only where base + adapter holds both tokens for equally likely."
    )
    for number in found[best].differs:
        prompt = tokenizer.decode(reference.prompts[number], skip_special_tokens=True).strip()
        lines += ["", f"## {' '.join(prompt.split())[-200:]}", ""]
        answers = {"base + adapter": reference.answers, "merged": found[best].answers}
        for name, said in answers.items():
            text = tokenizer.decode(said[number], skip_special_tokens=True)
            lines.append(f"- {name}: {' '.join(text.split())}")
    return "\n".join(lines) + "\n"
