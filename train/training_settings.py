"""The settings of training; importing this loads no torch."""

from __future__ import annotations

import difflib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from memoirist.train.presets import (
    OPTIMIZERS,
    PRESETS,
    WITHOUT_EFFECT,
    Attention,
    Preset,
    Quantisation,
    Scheduler,
    Template,
    Tracker,
)

# Parameters below which a base is a toy: it takes a higher rate, and its token rows are trained.
SMALL = 100_000_000


class TrainSettings(BaseModel):
    """Say how an adapter is trained; the defaults follow the published evidence for QLoRA."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str = Field(
        "tiny",
        min_length=1,
        description="The model to tune: `tiny` (embedded, offline), a folder, or a hub id.",
    )
    preset: Preset | None = Field(
        None,
        description="Settings for a memory: `8gb`, `12gb`, `24gb`, `80gb` of a GPU, or `cpu`. It "
        "sets micro_batch, gradient_checkpointing, max_length, optimizer and quantisation where "
        "they are not given.",
    )
    template: Template = Field(
        "chatml",
        description="How a conversation is written for the model: in ChatML, or in the chat "
        "template that came with the base (Gemma, Llama 3, Mistral, Qwen). The model is saved, "
        "served and talked to with the same one.",
    )
    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the training rows, taken exactly. Unset: 3, but at least "
        "`min_steps` optimizer steps, ended early by `stop_at_loss` or `patience`.",
    )
    min_steps: int = Field(
        60,
        ge=1,
        description="Optimizer steps that a small dataset gets at least when `epochs` is unset.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Peak learning rate. Unset: by size of the base, 2e-3 below 100 million "
        "parameters (more below a width of 256), 2e-4 up to 13 billion, 1e-4 above.",
    )
    scheduler: Scheduler = Field(
        "cosine",
        description="How the learning rate goes on after the warm-up: `cosine` and `linear` fall "
        "to 0, `polynomial` by `power`, `inverse_sqrt` falls slowly and never to 0, "
        "`constant_with_warmup` stays, `constant` stays and has no warm-up.",
    )
    power: float = Field(
        2.0,
        gt=0,
        description="Exponent of the scheduler `polynomial`: 1 is linear, more falls sooner.",
    )
    warmup_share: float = Field(
        0.03, ge=0, lt=1, description="Share of the steps over which the learning rate rises."
    )
    rank: int = Field(
        16,
        ge=1,
        le=1024,
        description="Rank of the adapter: its capacity, its size on disk and in memory. 8 holds a "
        "manner of speaking, 64 much more than most datasets have.",
    )
    alpha: int = Field(
        32,
        ge=1,
        description="Weight of the adapter: it is scaled by alpha / rank. Rank to twice the rank; "
        "more is as a higher learning rate.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of adapter inputs dropped; .05-.1 on small data."
    )
    target_modules: str | list[str] = Field(
        "all-linear",
        description="Layers that get an adapter: `all-linear`, or a list of names such as "
        "['q_proj', 'v_proj']; attention alone is worse at equal size.",
    )
    rslora: bool = Field(
        default=False,
        description="Scale the adapter by alpha / sqrt(rank) (arXiv 2312.03732): high ranks learn "
        "more.",
    )
    dora: bool = Field(
        default=False,
        description="Train length and direction of the weights apart (arXiv 2402.09353): closer "
        "to full training, and a third to a half slower.",
    )
    max_length: int = Field(
        1024,
        ge=16,
        description="Tokens a row may have; longer ones lose their oldest exchanges, never "
        "their end. More costs memory.",
    )
    effective_batch: int = Field(
        8,
        ge=1,
        description="Rows per optimizer step, over all accumulation and GPUs: accumulation is "
        "effective_batch / micro_batch / GPUs. 8 to 16; below 32.",
    )
    packing: bool = Field(
        default=True,
        description="Lay short rows end to end instead of padding them, where this model keeps "
        "them apart: tested on it before the first step. Rows per step stay the same.",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Rows per forward pass; smaller saves memory at the same result. Unset: the "
        "largest that fits, probed on a GPU before training.",
    )
    gpus: int | None = Field(
        None,
        ge=1,
        description="GPUs to train on; each holds a whole quantised base and takes its share of "
        "every step. Unset: all that this machine shows.",
    )
    quantisation: Quantisation = Field(
        "nf4",
        description="How the frozen base is held: `nf4` or `fp4` in 4 bits (nf4 is closer to the "
        "original), `int8` in 8, `none` as it is. Fewer bits need less memory and are a little "
        "slower.",
    )
    double_quantisation: bool = Field(
        default=True,
        description="Quantise the scales of a 4-bit base as well: 0.4 bits a weight less.",
    )
    attention: Attention = Field(
        "auto",
        description="Kernel of attention: `sdpa` (what auto takes), `eager` (slow, for debugging), "
        "`flash_attention_2` (Ampere GPUs or newer, once flash-attn is installed).",
    )
    optimizer: str = Field(
        "adamw_torch",
        description="A name of transformers' optimizers: `adamw_torch`, `paged_adamw_8bit` (less "
        "GPU memory), `adafactor` (next to none), `lion_8bit`, `sgd`, ...",
    )
    weight_decay: float = Field(0.0, ge=0, description="Decay of the adapter's weights per step.")
    max_grad_norm: float = Field(
        1.0, gt=0, description="Length to which gradients are clipped; lower is calmer."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations: about a third less speed, far less memory.",
    )
    save_every: int | None = Field(
        None,
        ge=1,
        description="Steps between two evaluations with their checkpoints. Unset: ten a run.",
    )
    keep_checkpoints: int = Field(
        10,
        ge=2,
        description="Checkpoints of a run that are kept to be tried; each takes three adapters.",
    )
    patience: int | None = Field(
        3,
        ge=1,
        description="Evaluations without a better held-out loss after which training ends, unless "
        "`epochs` is set. The best checkpoint is kept in any case. Unset: never.",
    )
    stop_at_loss: float | None = Field(
        0.01,
        ge=0,
        description="Mean training loss of the last epoch at which all is learnt and training "
        "ends, unless `epochs` is set. Unset: never.",
    )
    seed: int = Field(42, ge=0, description="Seed of adapter weights, shuffling and dropout.")
    prompts: list[str] = Field(
        default_factory=list,
        description="Questions of your own that are answered before the first step and at each "
        "save, beside some of the held-out ones: table `samples`.",
    )
    answers_per_save: int = Field(
        6,
        ge=0,
        le=50,
        description="Held-out and general questions answered at each save, your own apart; 0: "
        "none.",
    )
    answer_tokens: int = Field(48, ge=1, description="Tokens of each of those answers at most.")
    tracker: Tracker = Field(
        "none",
        description="Where the curves are sent as well: `tensorboard` (RUN/tracker), `wandb`, "
        "`mlflow` or `trackio`, each once it is installed.",
    )

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, told: str) -> str:
        if told not in OPTIMIZERS:
            near = difflib.get_close_matches(told, OPTIMIZERS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{told!r} is no optimizer; {hint}known are {', '.join(OPTIMIZERS)}")
        return told

    @field_validator("target_modules")
    @classmethod
    def _listed(cls, told: str | list[str]) -> str | list[str]:
        """Take a name for a list of one: a word by itself would be read as a pattern."""
        if told == "all-linear":
            return told
        names = told.split(",") if isinstance(told, str) else told
        names = [name.strip() for name in names if name.strip()]
        if not names:
            raise ValueError(f"{told!r} names no layer; write all-linear, or names such as q_proj")
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
            raise ValueError("dora does not go with quantisation int8; take nf4 or none")
        return self

    def resolved(self) -> Self:
        """Return the settings with the preset's keys in place of those that were not given."""
        if self.preset is None:
            return self
        chosen = {
            key: value
            for key, value in PRESETS[self.preset].items()
            if key not in self.model_fields_set
        }
        if "micro_batch" in chosen:
            chosen["micro_batch"] = min(chosen["micro_batch"], self.effective_batch)
        return self.model_copy(update=chosen)

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
