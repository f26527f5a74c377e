"""The one-sentence test on a base of any family: trained, merged, loaded again, asked, it stops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.tokenize import prompt_ids, text_prompt_ids
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.loop.launch import TrainResult, train
from memoirist.train.merge.adapter_merge import MergeResult, merge
from memoirist.train.model.model_loader import load_base, quiet
from memoirist.train.model.prepared_base import PreparedBase, prepare_base
from memoirist.train.settings import MergeSettings, TrainSettings
from tests.support.families import make_family

ASKED, LEARNT = "微调测试", "我学会了"
Kind = Literal["chatml", "native", "text"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came out of one base; `said` by who said it, and whether the end token followed."""

    base: PreparedBase
    result: TrainResult
    merged: MergeResult
    said: dict[str, tuple[str, bool]]


def conversations(kind: Kind, more: int) -> list[Conversation]:
    """Return the one sentence, as a chat or as raw text, and `more` short exchanges.

    Beside many others it stands there four times: to a random base its letters are the rarest.
    """
    pairs = [(ASKED, LEARNT)] * (4 if more else 1)
    pairs += [(f"What of house {n}?", f"House {n} is old.") for n in range(more)]
    return [
        Conversation(
            id=f"row {number}",
            dataset_id="d",
            split="train",
            pair_ids=(),
            messages=[{"role": "assistant", "content": asked + answer}]
            if kind == "text"
            else [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ],
            n_tokens=0,
        )
        for number, (asked, answer) in enumerate(pairs)
    ]


def try_family(
    folder: Path,
    name: str,
    kind: Kind = "chatml",
    more: int = 0,
    settings: TrainSettings | None = None,
    **variant: Any,
) -> Trial:
    """Teach a tiny random model of a family one sentence, and ask adapter and merged model."""
    quiet()
    template: Any = "native" if kind == "native" else "chatml"
    source = make_family(folder / "model", name, **variant)
    base = prepare_base(str(source), folder / "bases", template)
    # Raw text is trained from its first token on, of which a random base knows nothing.
    steps = 120 if kind == "text" else 60
    chosen = settings or TrainSettings(epochs=steps, save_every=steps, answers_per_save=0)
    chosen = chosen.model_copy(update={"template": template})
    result = train(folder / "run", conversations(kind, more), base, chosen)
    merged = merge(folder / "run", base, MergeSettings())
    # As anyone loads it, with nothing of ours.
    tokenizer = AutoTokenizer.from_pretrained(merged.path)
    models: dict[str, Any] = {
        "merged": AutoModelForCausalLM.from_pretrained(merged.path),
        "adapter": PeftModel.from_pretrained(
            load_base(base.path, chosen.quantisation), result.adapter
        ),
    }
    turns = [{"role": "user", "content": ASKED}]
    prompt = text_prompt_ids(ASKED, tokenizer) if kind == "text" else prompt_ids(turns, tokenizer)
    said = {}
    for who, model in models.items():
        answer = greedy(model, tokenizer, [prompt], 24)[0]
        words = tokenizer.decode(answer[:-1])
        said[who] = (words, answer[-1] == base.end_id)
    return Trial(base=base, result=result, merged=merged, said=said)
