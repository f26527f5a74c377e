"""Answer the same few questions at each save, so that a person hears a training change."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memoirist.data.schema.training_records import SampleKind
from memoirist.data.text.words import is_cjk
from memoirist.train.dataset.tokenize import prompt_ids
from memoirist.train.loop.callbacks import Follow
from memoirist.train.loop.progress import SAMPLES
from memoirist.train.model.model_loader import greedy
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Whoever it is: an identity, a memory, an opinion, plain knowledge, an instruction, the disclosure.
_GENERAL = {
    "en": (
        "Who are you?",
        "What is your first memory?",
        "What matters most in a life?",
        "What is the capital of France?",
        "Name three things that are red.",
        "Are you a real person?",
    ),
    "zh": (
        "你是谁？",
        "你最早的记忆是什么？",
        "人的一生中什么最重要？",
        "法国的首都是哪里？",
        "说出三样红色的东西。",
        "你是真人吗？",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question with the messages that lead to its answer."""

    kind: SampleKind
    text: str
    messages: Sequence[Mapping[str, str]]


def choose(conversations: Path, settings: TrainSettings) -> list[Prompt]:
    """Return the prompts of a run: half held-out questions, half general ones, and the user's own.

    Where nothing is held out, questions that are trained on stand in.
    """
    openings = _openings(conversations)
    kind: SampleKind = "held_out" if openings["validation"] else "trained"
    known = openings["validation"] or openings["train"]
    n_known = min(len(known), (settings.answers_per_save + 1) // 2)
    spread = known[:: max(1, len(known) // max(1, n_known))][:n_known]
    system = [m for m in (known[0] if known else ()) if m["role"] == "system"]
    lang = "zh" if known and is_cjk(known[0][-1]["content"]) else "en"
    asked: list[tuple[SampleKind, str]] = [
        *(("general", text) for text in _GENERAL[lang][: settings.answers_per_save - n_known]),
        *(("own", text) for text in settings.prompts),
    ]
    prompts = [Prompt(kind=kind, text=m[-1]["content"], messages=m) for m in spread] + [
        Prompt(kind=k, text=text, messages=[*system, {"role": "user", "content": text}])
        for k, text in asked
    ]
    # The user's own come last and win, should they ask the same.
    return list({prompt.text: prompt for prompt in prompts}.values())


def _openings(conversations: Path) -> dict[str, list[list[Mapping[str, str]]]]:
    """Return what leads to the first answer of each conversation that asks something."""
    found: dict[str, list[list[Mapping[str, str]]]] = {"train": [], "validation": []}
    with conversations.open(encoding="utf-8") as lines:
        for line in lines:
            conversation = json.loads(line)
            opening: list[Mapping[str, str]] = []
            for message in conversation["messages"]:
                if message["role"] == "assistant":
                    break
                opening.append(message)
            if opening and opening[-1]["role"] == "user" and conversation["split"] in found:
                found[conversation["split"]].append(opening)
    return found


class Answers(TrainerCallback):  # type: ignore[misc]
    """Writes the answers before the first step and at each save as lines of samples.jsonl."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        follow: Follow,
    ) -> None:
        """Take what is asked; nothing is drawn at random, so a resumed run stays the same."""
        self.prompts, self.follow = prompts, follow
        self.tokenizer, self.max_new_tokens = tokenizer, max_new_tokens
        self.ids = [prompt_ids(prompt.messages, tokenizer) for prompt in prompts]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Let the base answer: a fresh adapter changes nothing yet."""
        if state.global_step == 0:
            self._answer(more["model"], state)
            # These answers are no part of the speed.
            self.follow.started = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Let the model answer as it is saved."""
        self._answer(more["model"], state)

    def _answer(self, model: Any, state: TrainerState) -> None:
        if not self.prompts or not state.is_world_process_zero or self.follow.interrupted:
            return
        started, was_training = time.monotonic(), model.training
        answers = greedy(model, self.tokenizer, self.ids, self.max_new_tokens)
        model.train(was_training)
        seconds = (time.monotonic() - started) / len(answers)
        self._write(state.global_step, answers, seconds)

    def _write(self, step: int, answers: Iterable[Sequence[int]], seconds: float) -> None:
        lines = [
            json.dumps(
                {
                    "step": step,
                    "prompt": prompt.text,
                    "kind": prompt.kind,
                    "answer": self.tokenizer.decode(answer, skip_special_tokens=True).strip(),
                    "seconds": round(seconds, 3),
                },
                ensure_ascii=False,
            )
            for prompt, answer in zip(self.prompts, answers, strict=True)
        ]
        with (self.follow.folder / SAMPLES).open("a", encoding="utf-8") as file:
            # One write for all: a reader sees the answers of a save together.
            file.write("\n".join(lines) + "\n")
