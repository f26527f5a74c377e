"""The settings of training; importing this loads no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="How the learning rate falls after the warm-up."
    )
    warmup_share: float = Field(
        0.03, ge=0, lt=1, description="Share of the steps over which the learning rate rises."
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapter: its capacity.")
    alpha: int = Field(32, ge=1, description="Weight of the adapter; rank to twice the rank.")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of adapter inputs dropped; .05-.1 on small data."
    )
    target_modules: str | list[str] = Field(
        "all-linear",
        description="Layers that get an adapter; attention alone is worse at equal size.",
    )
    max_length: int = Field(
        1024,
        ge=16,
        description="Tokens a row may have; longer ones lose their oldest exchanges, never "
        "their end. More costs memory.",
    )
    effective_batch: int = Field(
        8, ge=1, description="Rows per optimizer step, over all accumulation and GPUs; below 32."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Rows per forward pass; smaller saves memory at the same result. Unset: the "
        "largest that fits, probed on a GPU before training.",
    )
    quantisation: Literal["nf4", "none"] = Field(
        "nf4", description="4-bit base with double quantisation, or the base as it is."
    )
    optimizer: str = Field(
        "adamw_torch",
        description="A name of transformers' optimizers; `paged_adamw_8bit` saves GPU memory.",
    )
    weight_decay: float = Field(0.0, ge=0, description="Decay of the adapter's weights per step.")
    max_grad_norm: float = Field(
        1.0, gt=0, description="Length to which gradients are clipped; lower is calmer."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations: about a third less speed, far less memory."
    )
    save_every: int | None = Field(
        None,
        ge=1,
        description="Steps between two evaluations with their checkpoints. Unset: ten a run.",
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

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.effective_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} is above effective_batch {self.effective_batch}; "
                "lower micro_batch or raise effective_batch"
            )
        return self

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
