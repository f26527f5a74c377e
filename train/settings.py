"""The settings of training, merging, evaluation and chat; importing this loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memoirist.train.training_settings import SMALL, TrainSettings

__all__ = ["SMALL", "ChatSettings", "EvaluateSettings", "MergeSettings", "TrainSettings"]


class MergeSettings(BaseModel):
    """Say how the adapter becomes part of the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["best", "dequantised", "original"] = Field(
        "best",
        description="Merge into the 4-bit weights made full again, into the original base, or do "
        "both and keep the one with the lower held-out loss.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Type of the saved weights. Auto: float32 below 1 billion parameters, else "
        "bfloat16 unless it answers otherwise than base + adapter.",
    )
    prompts: int = Field(
        50, ge=1, le=500, description="Prompts on which merged model and adapter must agree."
    )
    max_new_tokens: int = Field(
        48, ge=1, description="Tokens of each answer that are compared in that check."
    )
    max_conversations: int = Field(
        64, ge=1, description="Held-out conversations on which both merges are evaluated."
    )
    max_kl: float = Field(
        1e-4,
        gt=0,
        description="Divergence from base + adapter, in nats a token, up to which a merged model "
        "counts as the trained one.",
    )


class EvaluateSettings(BaseModel):
    """Say what the tuned model is asked, beside its base, and how its answers are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: int = Field(1024, ge=16, description="Tokens a conversation may have.")
    max_conversations: int | None = Field(
        None, ge=1, description="Conversations to measure the loss of at most. Unset: all."
    )
    questions: int = Field(
        24, ge=0, description="Held-out questions that each model answers; 0 measures loss alone."
    )
    max_new_tokens: int = Field(256, ge=8, description="Tokens each of these answers may have.")
    temperature: float = Field(
        0.7, ge=0, le=2, description="As in `chat`; 0 always takes the likeliest token."
    )
    top_p: float = Field(0.8, gt=0, le=1, description="As in `chat`.")
    seed: int = Field(42, ge=0, description="Seed of the draws and of the intervals.")
    batch: int = Field(
        32, ge=1, description="Answers that are made at once; halved where memory is short."
    )
    few_shot: int = Field(
        5, ge=0, description="Exchanges shown to the base for comparison; 0 leaves that side out."
    )
    few_shot_words: int = Field(400, ge=50, description="Words that these exchanges may have.")
    abilities: bool = Field(
        True, description="Ask plain instructions too, to see what training made it forget."
    )
    judge: bool = Field(
        False, description="Have an LLM choose between answers; the endpoint of [interview]."
    )
    judge_model: str | None = Field(None, description="The judge's model. Unset: interview.model.")


class ChatSettings(BaseModel):
    """Say how an answer is drawn from the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(512, ge=1, description="Tokens an answer may have at most.")
    # A small tuned model that always takes the likeliest token soon goes in circles. Nucleus
    # sampling at .8 keeps what was learnt verbatim: a token with that much of the probability is
    # alone in its nucleus, so it is taken for certain.
    temperature: float = Field(
        0.7,
        ge=0,
        le=2,
        description="0 always takes the likeliest token; higher is livelier and less faithful.",
    )
    top_p: float = Field(
        0.8, gt=0, le=1, description="Sampling keeps the likeliest tokens up to this probability."
    )
    repetition_penalty: float = Field(
        1.0,
        ge=1,
        le=2,
        description="Above 1 makes tokens of the answer less likely again; breaks verbatim text.",
    )
    max_repeats: int | None = Field(
        4,
        ge=2,
        description="End an answer that says one run of words so often in a row. Unset: never.",
    )
    disclose: bool = Field(
        True,
        description="Begin the answer to whoever asks whether this is the person or a machine with"
        " the disclosure of an AI; the model goes on from there.",
    )
    seed: int = Field(42, ge=0, description="Seed of the draws when temperature is above 0.")
