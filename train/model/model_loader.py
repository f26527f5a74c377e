"""Load models for training, merge and evaluation, and measure their loss and their answers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from memoirist.train.dataset.tokenize import IGNORE, Rendered
from memoirist.train.presets import Attention, Quantisation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Logits of one evaluation batch, in numbers: 0.5 GB in float32, whatever the vocabulary.
LOGIT_BUDGET = 2**27
TOKEN_BUDGET = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Negative log-likelihood summed over the trained tokens of some rows, in nats."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Return nats per trained token, NaN for no token."""
        return self.total / self.tokens if self.tokens else float("nan")


def quiet() -> None:
    """Silence the libraries: what matters reaches the user as progress or as an error."""
    # Of calls that the libraries make of one another; ours are held by the tests.
    for library in ("transformers", "peft", "bitsandbytes", "accelerate", "torch"):
        warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def compute_dtype() -> torch.dtype:
    """Return the type in which 4-bit weights are multiplied on this machine.

    float32 on a CPU: on the tiny base bfloat16 was no faster beyond the noise (see the figures in
    train/qlora.py), and the merged float32 model then repeats the trained one to 1e-6. fp16 on
    GPUs before Ampere, which emulate bfloat16.
    """
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16


def load_base(
    path: Path,
    quantisation: Quantisation,
    device: int | str | None = None,
    *,
    double: bool = True,
    attention: Attention = "auto",
) -> PreTrainedModel:
    """Load the prepared base for training or as the reference of the merge.

    `double` quantises the scales of a 4-bit base as well.
    """
    quiet()
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = compute_dtype()
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if torch.cuda.is_available():
        options["device_map"] = {"": 0 if device is None else device}
    if attention != "auto":
        options["attn_implementation"] = attention
    if quantisation == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif quantisation != "none":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantisation,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=dtype,
        )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **options)
    keep_four_bit_layout(model)
    return model


def keep_four_bit_layout(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking weights for CPU inference.

    With AVX512-BF16 the first forward pass in eval mode repacks every 4-bit weight in place for a
    kernel that rounds to bfloat16 and has no gradient: one evaluation in the middle of a run
    would stop the layers below from learning, without an error (bitsandbytes 0.50.2,
    nn/modules.py, Linear4bit.forward).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no nn.Module has it


def batch_loss(
    model: torch.nn.Module, input_ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the loss summed over the labelled tokens of a right-padded batch.

    No attention mask: a causal model never looks right, so padding on that side changes nothing
    and the mask-free attention kernel is the fastest one. Logits are made only for columns that
    some row has a label in; with a large vocabulary they are most of the memory.
    """
    targets = labels[:, 1:]
    columns = (targets != IGNORE).any(dim=0).nonzero().flatten()
    last = int(columns[-1]) + 1
    if keeps_logits(model):
        output = model(input_ids=input_ids[:, :last], logits_to_keep=columns, use_cache=False)
        logits = output.logits
    else:
        logits = model(input_ids=input_ids[:, :last], use_cache=False).logits[:, columns]
    return cross_entropy(
        logits.flatten(0, 1).float(),
        targets[:, columns].flatten(),
        ignore_index=IGNORE,
        reduction="sum",
    )


def pad(rows: Sequence[Rendered], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return input ids and labels of `rows`, padded right to the longest."""
    longest = max(len(row.input_ids) for row in rows)
    ids = [[*row.input_ids, *[0] * (longest - len(row.input_ids))] for row in rows]
    labels = [[*row.labels, *[IGNORE] * (longest - len(row.labels))] for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(labels, device=device)


def measure(model: PreTrainedModel, rows: Iterable[Rendered]) -> Loss:
    """Return the loss over all trained tokens of `rows`, in batches of bounded memory."""
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    budget = min(TOKEN_BUDGET, LOGIT_BUDGET // model.get_input_embeddings().weight.shape[0])
    with torch.inference_mode():
        for batch in batches_of(sorted(rows, key=lambda row: len(row.input_ids)), budget):
            ids, labels = pad(batch, model.device)
            total += float(batch_loss(model, ids, labels))
            tokens += int((labels[:, 1:] != IGNORE).sum())
    model.train(was_training)
    return Loss(total=total, tokens=tokens)


def greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """Return the greedy continuation of each prompt, cut after its end token."""
    model.eval()
    ends = end_ids(model, tokenizer)
    answers: list[list[int]] = []
    start = 0
    while start < len(prompts):
        # As many at once as stay within the budget; in order, so that batches repeat themselves.
        stop = start + 1
        while stop < len(prompts) and (
            (stop + 1 - start) * (max(map(len, prompts[start : stop + 1])) + max_new_tokens)
            <= 2 * TOKEN_BUDGET
        ):
            stop += 1
        found = _continued(model, tokenizer, prompts[start:stop], max_new_tokens)
        answers += [_cut(answer, ends) for answer in found]
        start = stop
    return answers


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    longest = max(len(prompt) for prompt in prompts)
    fill = tokenizer.pad_token_id
    # Padded left, so that all answers start at the same column; masked by position, not by id.
    ids = [[fill] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.inference_mode():
        answers = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
    return [answer[longest:] for answer in answers.tolist()]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids that end an answer, as config, generation_config and tokenizer say."""
    found: set[int] = {int(tokenizer.eos_token_id)}
    for ends in (model.generation_config.eos_token_id, model.config.eos_token_id):
        found.update([ends] if isinstance(ends, int) else ends or [])
    return found


def _cut(answer: list[int], ends: set[int]) -> list[int]:
    at = next((place for place, token in enumerate(answer) if token in ends), len(answer))
    return answer[: at + 1]


def batches_of(rows: Sequence[Rendered], budget: int) -> Iterable[list[Rendered]]:
    """Yield runs of `rows`, sorted by length, whose padded size stays within `budget` tokens."""
    batch: list[Rendered] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row.input_ids) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def keeps_logits(model: torch.nn.Module) -> bool:
    """Tell whether the model can make logits of chosen columns alone."""
    inner: Any = getattr(model, "module", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
