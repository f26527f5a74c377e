"""The settings of training, merging, evaluation and chat; importing this loads no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from memoirist.data.schema.settings_base import SettingsBase

Preset = Literal["cpu", "8gb", "12gb", "24gb", "80gb"]
Quantisation = Literal["nf4", "fp4", "int8", "none"]
Scheduler = Literal[
    "linear", "constant", "constant_with_warmup", "cosine", "inverse_sqrt", "polynomial"
]
Template = Literal["chatml", "native"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]
Tracker = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]

# Questions that the model under training and the merged model are asked.
PROMPTS = Path(__file__).with_name("prompts.toml")
# Below this number of parameters a base is tiny: it takes a higher rate, and its token rows are
# trained.
SMALL = 100_000_000


def _preset(micro_batch: int, max_length: int, checkpointing: bool, optimizer: str) -> Any:
    return {
        "quantisation": "nf4",
        "micro_batch": micro_batch,
        "max_length": max_length,
        "gradient_checkpointing": checkpointing,
        "optimizer": optimizer,
    }


# Sized by train/requirements.py for a base of 8 billion parameters in NF4 with a vocabulary of
# 128,000: 7 GB under `8gb`, 9 under `12gb`, 13 under `24gb` (14 billion: 19), 29 under `80gb` (14
# billion: 41); a base of 0.6 billion takes 7 GB under `cpu`. Keys that the user gives win.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "cpu": _preset(2, 512, False, "adamw_torch"),  # on a CPU more rows at once are no faster
    "8gb": _preset(1, 512, True, "paged_adamw_8bit"),
    "12gb": _preset(2, 1024, True, "paged_adamw_8bit"),
    "24gb": _preset(4, 2048, True, "adamw_torch"),
    "80gb": _preset(8, 4096, True, "adamw_torch_fused"),
}

# Transformers' optimizers that need no further library, each tried on a CPU with transformers 5.23
# and bitsandbytes 0.50.2, by the bytes of state that they keep for a trained weight: two moments of
# 4 bytes, or of 1 in the 8-bit ones; some keep a single moment.
OPTIMIZERS: Mapping[str, float] = {
    name: state_bytes
    for state_bytes, names in (
        (8, "adamw_torch adamw_torch_fused paged_adamw_32bit"),
        (2, "adamw_8bit adamw_bnb_8bit paged_adamw_8bit"),
        (12, "ademamix paged_ademamix_32bit"),
        (3, "ademamix_8bit paged_ademamix_8bit"),
        (4, "lion_32bit paged_lion_32bit adagrad rmsprop rmsprop_bnb rmsprop_bnb_32bit"),
        (1, "lion_8bit paged_lion_8bit rmsprop_bnb_8bit"),
        (0.1, "adafactor"),
        (0, "sgd"),
    )
    for name in names.split()
}

# Keys that leave the trained weights as they are: a run continues when one of them changes. The
# micro-batch depends on a machine's memory, and a preset counts by the keys that it sets.
WITHOUT_EFFECT = frozenset(
    "base_model preset micro_batch gradient_checkpointing tracker prompts answers_per_save "
    "answer_tokens keep_checkpoints packing gpus".split()
)


class _Settings(SettingsBase):
    """Settings of a finished run, which nothing changes."""

    model_config = ConfigDict(frozen=True)


class TrainSettings(_Settings):
    """Say how an adapter is trained; the defaults follow the published evidence for QLoRA."""

    base_model: str = Field("tiny", min_length=1)
    """The model to tune: `tiny` (embedded, offline), a folder, or a hub id."""

    preset: Preset | None = None
    """Settings for a memory size: `8gb`, `12gb`, `24gb`, `80gb` of a GPU, or `cpu`. It sets
    micro_batch, gradient_checkpointing, max_length, optimizer and quantisation where they are not
    given."""

    template: Template = "chatml"
    """How a conversation is written for the model: in ChatML, or in the chat template that came
    with the base (Gemma, Llama 3, Mistral, Qwen). The model is saved, served and talked to with the
    same one."""

    epochs: float | None = Field(None, gt=0)
    """Passes over the training rows, taken exactly. Unset: 3, but at least `min_steps` optimizer
    steps, ended early by `stop_at_loss` or `patience`."""

    min_steps: int = Field(60, ge=1)
    """Optimizer steps that a small dataset gets at least when `epochs` is unset."""

    learning_rate: float | None = Field(None, gt=0, lt=1)
    """Peak learning rate. Unset: by size of the base, 2e-3 below 100 million parameters (more below
    a width of 256), 2e-4 up to 13 billion, 1e-4 above."""

    scheduler: Scheduler = "cosine"
    """How the learning rate goes on after the warm-up: `cosine` and `linear` fall to 0,
    `polynomial` by `power`, `inverse_sqrt` falls slowly and never to 0, `constant_with_warmup`
    stays, `constant` stays and has no warm-up."""

    power: float = Field(2.0, gt=0)
    """Exponent of the scheduler `polynomial`: 1 is linear, more falls sooner."""

    warmup_share: float = Field(0.03, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""

    rank: int = Field(16, ge=1, le=1024)
    """Rank of the adapter: its capacity, its size on disk and in memory. 8 is enough for a manner
    of speaking, 64 for much more than most datasets hold."""

    alpha: int = Field(32, ge=1)
    """Weight of the adapter: it is scaled by alpha / rank. Use one to two times the rank; more
    acts like a higher learning rate."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of adapter inputs dropped; .05-.1 on small data."""

    target_modules: str | list[str] = "all-linear"
    """Layers that get an adapter: `all-linear`, or a list of names such as ['q_proj', 'v_proj'];
    attention only is worse at equal size."""

    rslora: bool = False
    """Scale the adapter by alpha / sqrt(rank) (arXiv 2312.03732): high ranks learn more."""

    dora: bool = False
    """Train length and direction of the weights separately (arXiv 2402.09353): closer to full
    training, and a third to a half slower."""

    max_length: int = Field(1024, ge=16)
    """Most tokens of a row; longer ones lose their oldest exchanges, never their end. More tokens
    need more memory."""

    effective_batch: int = Field(8, ge=1)
    """Rows per optimizer step, over all accumulation and GPUs: accumulation is effective_batch /
    micro_batch / GPUs. 8 to 16; below 32."""

    packing: bool = True
    """Lay short rows end to end instead of padding them, where this model keeps them apart: tested
    on it before the first step. Rows per step stay the same."""

    micro_batch: int | None = Field(None, ge=1)
    """Rows per forward pass; smaller saves memory at the same result. Unset: the largest that fits,
    probed on a GPU before training."""

    gpus: int | None = Field(None, ge=1)
    """GPUs to train on; each holds a whole quantised base and takes its share of every step. Unset:
    all that this machine shows."""

    quantisation: Quantisation = "nf4"
    """How the frozen base is stored: `nf4` or `fp4` in 4 bits (nf4 is closer to the original),
    `int8` in 8, `none` as it is. Fewer bits need less memory and are a little slower."""

    double_quantisation: bool = True
    """Quantise the scales of a 4-bit base as well: 0.4 bits per weight less."""

    attention: Attention = "auto"
    """Kernel of attention: `sdpa` (what auto takes), `eager` (slow, for debugging),
    `flash_attention_2` (Ampere GPUs or newer, once flash-attn is installed)."""

    optimizer: str = "adamw_torch"
    """A name of transformers' optimizers: `adamw_torch`, `paged_adamw_8bit` (less GPU memory),
    `adafactor` (next to none), `lion_8bit`, `sgd`, ..."""

    weight_decay: float = Field(0.0, ge=0)
    """Decay of the adapter's weights per step."""

    max_grad_norm: float = Field(1.0, gt=0)
    """Length to which gradients are clipped; lower is calmer."""

    gradient_checkpointing: bool = False
    """Recompute activations: about a third less speed, far less memory."""

    save_every: int | None = Field(None, ge=1)
    """Steps between two evaluations with their checkpoints. Unset: ten per run."""

    keep_checkpoints: int = Field(10, ge=2)
    """Checkpoints of a run that are kept to be tried; each takes three adapters."""

    patience: int | None = Field(3, ge=1)
    """Evaluations without a better held-out loss after which training ends, unless `epochs` is set.
    The best checkpoint is kept in any case. Unset: never."""

    stop_at_loss: float | None = Field(0.01, ge=0)
    """Mean training loss of the last epoch at which training ends because everything is learnt,
    unless `epochs` is set. Unset: never."""

    seed: int = Field(42, ge=0)
    """Seed of adapter weights, shuffling and dropout."""

    prompts: list[str] = Field(default_factory=list)
    """Questions of your own that are answered before the first step and at each save, beside some
    of the held-out ones: table `samples`."""

    answers_per_save: int = Field(6, ge=0, le=50)
    """Held-out and general questions answered at each save, without your own; 0: none."""

    answer_tokens: int = Field(48, ge=1)
    """Tokens of each of those answers at most."""

    tracker: Tracker = "none"
    """Where else the curves are sent: `tensorboard` (RUN/tracker), `wandb`, `mlflow` or
    `trackio`, each once it is installed."""

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, name: str) -> str:
        if name not in OPTIMIZERS:
            near = difflib.get_close_matches(name, OPTIMIZERS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{name!r} is not an optimizer; {hint}known: {', '.join(OPTIMIZERS)}")
        return name

    @field_validator("target_modules")
    @classmethod
    def _listed(cls, value: str | list[str]) -> str | list[str]:
        """Take a name for a list of one: a word by itself would be read as a pattern."""
        if value == "all-linear":
            return value
        names = value.split(",") if isinstance(value, str) else value
        names = [name.strip() for name in names if name.strip()]
        if not names:
            raise ValueError(
                f"{value!r} is not the name of a layer; write all-linear, or names such as q_proj"
            )
        return names

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.effective_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} is above effective_batch {self.effective_batch}; "
                "lower micro_batch or raise effective_batch"
            )
        if self.dora and self.quantisation == "int8":
            # peft 0.21.2 takes the length of a weight that bitsandbytes no longer holds.
            raise ValueError("dora does not work with quantisation int8; use nf4 or none")
        return self

    def resolved(self) -> Self:
        """Return the settings with the preset's keys in place of those that were not given."""
        if self.preset is None:
            return self
        update = {k: v for k, v in PRESETS[self.preset].items() if k not in self.model_fields_set}
        if "micro_batch" in update:
            update["micro_batch"] = min(update["micro_batch"], self.effective_batch)
        return self.model_copy(update=update)

    def lasting(self) -> dict[str, Any]:
        """Return the keys on which the trained weights depend, by name."""
        return self.resolved().model_dump(exclude=set(WITHOUT_EFFECT))

    def rate(self, n_parameters: int, width: int) -> float:
        """Return the peak learning rate for a base of `n_parameters` with rows `width` wide.

        Below a width of 256 the rate grows as the width falls (Yang et al. 2022,
        arXiv 2203.03466): one exchange in 60 steps came to a loss of 0.07 instead of 4.2 on a
        random base 64 wide, and of 0.06 instead of 1.2 at 128.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        if n_parameters < SMALL:
            return 2e-3 * max(1.0, 256 / width)
        return 2e-4 if n_parameters <= 13_500_000_000 else 1e-4


class MergeSettings(_Settings):
    """Say how the adapter becomes part of the model."""

    method: Literal["best", "dequantised", "original"] = "best"
    """Merge into the dequantised 4-bit base, into the original base, or do both and keep the one
    with the lower held-out loss."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the saved weights. Auto: float32 below 1 billion parameters, else bfloat16 unless its
    answers differ from those of base + adapter."""

    prompts: int = Field(50, ge=1, le=500)
    """Prompts on which merged model and adapter must agree."""

    max_new_tokens: int = Field(48, ge=1)
    """Tokens of each answer that are compared in that check."""

    max_conversations: int = Field(64, ge=1)
    """Held-out conversations on which both merges are evaluated."""

    max_kl: float = Field(1e-4, gt=0)
    """Largest divergence from base + adapter, in nats per token, with which a merged model counts
    as equal to the trained one."""


class EvaluateSettings(_Settings):
    """Say what the tuned model is asked, beside its base, and how its answers are drawn."""

    max_length: int = Field(1024, ge=16)
    """Most tokens of a conversation."""

    max_conversations: int | None = Field(None, ge=1)
    """Most conversations to measure the loss on. Unset: all."""

    questions: int = Field(24, ge=0)
    """Held-out questions that each model answers; 0 measures loss alone."""

    max_new_tokens: int = Field(256, ge=8)
    """Most tokens of each of these answers."""

    temperature: float = Field(0.7, ge=0, le=2)
    """As in `chat`; 0 always takes the likeliest token."""

    top_p: float = Field(0.8, gt=0, le=1)
    """As in `chat`."""

    seed: int = Field(42, ge=0)
    """Seed for sampling and for the intervals."""

    batch: int = Field(32, ge=1)
    """Answers generated at once; halved where memory is short."""

    few_shot: int = Field(5, ge=0)
    """Exchanges shown to the base for comparison; 0 leaves that side out."""

    few_shot_words: int = Field(400, ge=50)
    """Most words of these exchanges together."""

    abilities: bool = True
    """Also ask plain instructions, to see what the training made the model forget."""

    judge: bool = False
    """Have an LLM, at the endpoint of [interview], choose between answers."""

    judge_model: str | None = None
    """The judge's model. Unset: interview.model."""


class ChatSettings(_Settings):
    """Say how an answer is drawn from the model."""

    max_new_tokens: int = Field(512, ge=1)
    """Most tokens of an answer."""

    # A small tuned model that always takes the likeliest token soon repeats itself. Nucleus
    # sampling at .8 keeps what was learnt verbatim: a token with that much of the probability is
    # alone in its nucleus, so it is taken for certain.
    temperature: float = Field(0.7, ge=0, le=2)
    """0 always takes the likeliest token; higher is livelier and less faithful."""

    top_p: float = Field(0.8, gt=0, le=1)
    """Sample from the likeliest tokens up to this total probability."""

    repetition_penalty: float = Field(1.0, ge=1, le=2)
    """Above 1, tokens already in the answer become less likely; breaks verbatim text."""

    max_repeats: int | None = Field(4, ge=2)
    """End an answer that repeats a run of words this many times in a row. Unset: never."""

    disclose: bool = True
    """Where the model is asked whether it is the person or a machine, begin the answer with the
    disclosure of an AI; the model continues from there."""

    seed: int = Field(42, ge=0)
    """Seed for sampling when temperature is above 0."""
