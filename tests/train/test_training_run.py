"""Training for real on the embedded base: run, resume, merge, evaluation and the model's answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from memoirist.data.evaluation.ability import instructions
from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Conversation, Split
from memoirist.train.dataset.tokenize import IGNORE, prompt_ids, tokenize
from memoirist.train.inference.batch_inference import greedy, measure
from memoirist.train.inference.chat_model import load
from memoirist.train.inference.predict import PredictionInputs, predict
from memoirist.train.loop.launch import Progress, TrainResult, read_result, train
from memoirist.train.loop.run_folder import last_whole_checkpoint, load_checkpoint, steps_kept
from memoirist.train.merge.adapter_merge import MergeResult, merge
from memoirist.train.model.adapter import with_adapter
from memoirist.train.model.model_loader import load_base, quiet
from memoirist.train.model.prepared_base import PreparedBase, prepare_base
from memoirist.train.settings import ChatSettings, EvaluateSettings, MergeSettings, TrainSettings
from tests.conftest import ROOT, environment

# isort: split


# The runs at the top of the file are real ones; test_train_toys.py has the quick one.
pytestmark = pytest.mark.slow

ASKED, LEARNT = "微调测试", "我学会了"
# Enough steps to learn six rows; a checkpoint every eight, so that there is one to go on from.
SETTINGS = TrainSettings(epochs=16, effective_batch=3, save_every=8)


def conversation(name: str, split: Split, *words: str) -> Conversation:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(words)]
    return Conversation(
        id=name, dataset_id="d", split=split, pair_ids=(), messages=messages, n_tokens=0
    )


ONE = [conversation("one", "train", ASKED, LEARNT)]
PLACES = ("mill", "river", "school", "house", "garden", "church", "bridge", "harbour", "field")
SPLITS: tuple[Split, ...] = (*("train",) * 6, "validation", "validation", "test")
SEVERAL = [
    *(
        conversation(
            name, split, f"What of the {name}?", f"The {name} was old, and my father was there."
        )
        for name, split in zip(PLACES, SPLITS, strict=True)
    ),
    conversation("too long", "train", "Tell me all.", "It was so. " * 700),
]


@dataclass(frozen=True)
class Finished:
    """A run that was trained to its end, and what it reported on the way."""

    folder: Path
    base: PreparedBase
    result: TrainResult
    progress: list[Progress]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PreparedBase:
    return prepare_base("tiny", tmp_path_factory.mktemp("workspace") / "bases")


@pytest.fixture(scope="module")
def several(base: PreparedBase, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder, progress = tmp_path_factory.mktemp("runs") / "several", list[Progress]()
    result = train(folder, SEVERAL, base, SETTINGS, progress.append)
    return Finished(folder, base, result, progress)


@pytest.fixture(scope="module")
def merged(several: Finished) -> MergeResult:
    return merge(several.folder, several.base, MergeSettings())


@pytest.mark.parametrize("epochs", [None, 60])
def test_one_exchange_is_learnt_merged_and_said(
    epochs: float | None, base: PreparedBase, tmp_path: Path
) -> None:
    result = train(tmp_path / "run", ONE, base, TrainSettings(epochs=epochs))
    assert result.stopped_by == ("loss" if epochs is None else "steps")
    assert result.steps == 60 if epochs else result.steps < 60
    assert result.train_loss is not None
    assert result.train_loss <= 0.01
    assert (result.base_eval_loss, result.eval_loss, result.n_train) == (None, None, 1)
    made = merge(tmp_path / "run", base, MergeSettings())
    talker = load(made.path)
    turns = [{"role": "user", "content": ASKED}]
    pieces = list(talker.answer(turns, ChatSettings()))
    assert "".join(pieces) == LEARNT
    # It stopped by itself: its end token came right after the words.
    prompt = prompt_ids(turns, talker.tokenizer)
    answer = greedy(talker.model, talker.tokenizer, [prompt], 50)[0]
    assert answer[-1] == base.end_id
    assert talker.tokenizer.decode(answer[:-1]) == LEARNT


def test_the_base_is_in_four_bits_and_the_adapter_in_float32(
    base: PreparedBase, several: Finished
) -> None:
    from bitsandbytes.nn import Params4bit
    from safetensors.torch import load_file

    model = with_adapter(load_base(base.path, "nf4"), base, TrainSettings())
    packed = [name for name, p in model.named_parameters() if isinstance(p, Params4bit)]
    assert len(packed) == 4 * 7
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trainable.values()} == {torch.float32}
    assert len(trainable) == 2 * len(packed) + 1
    assert any("token" in name for name in trainable)
    # An evaluation between two steps must not cut the layers below off from learning.
    row = tokenize(SEVERAL[0].messages, AutoTokenizer.from_pretrained(base.path), 100)
    assert row is not None
    measure(model, [row])
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    model.train()(input_ids=ids, labels=labels).loss.backward()
    missed = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    # A fresh B is zero, so that only A has no gradient yet.
    assert all("lora_A" in name for name in missed), missed
    saved = load_file(several.result.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_a_run_reports_its_losses_and_keeps_the_best(several: Finished) -> None:
    result, lines = several.result, several.progress
    assert (result.n_train, result.n_validation, result.dropped) == (6, 2, ("too long",))
    assert result.steps == 32
    losses = [(line.step, line.loss) for line in lines if line.loss is not None]
    assert [step for step, _ in losses] == list(range(1, 33))
    held = {line.step: line.eval_loss for line in lines if line.eval_loss is not None}
    assert list(held) == [8, 16, 24, 32]
    assert result.best_step == min(held, key=lambda step: held[step])
    # Measured on the adapter that was saved: the best, and not the last.
    assert result.eval_loss == pytest.approx(min(held.values()), rel=1e-4)
    assert result.base_eval_loss is not None
    assert result.eval_loss is not None
    assert result.eval_loss < 0.5 * result.base_eval_loss
    assert lines[-1].total_steps == 32
    assert result.tokens_per_second > 0
    assert result.loss_curve.read_bytes().startswith(b"\x89PNG")
    names = {metric.name for metric in result.metrics}
    assert names >= {"loss", "eval_loss", "base_eval_loss", "seconds", "peak_memory_mb"}
    assert read_result(several.folder) == result


def test_each_checkpoint_can_be_tried(several: Finished) -> None:
    assert steps_kept(several.folder) == [8, 16, 24, 32]
    tokenizer = AutoTokenizer.from_pretrained(several.base.path)
    held_out = [row.messages for row in SEVERAL if row.split == "validation"]
    rows = [row for row in (tokenize(turns, tokenizer, 100) for turns in held_out) if row]
    told = {line.step: line.eval_loss for line in several.progress if line.eval_loss is not None}
    for step in (8, 32):
        model, _ = load_checkpoint(several.folder, step)
        assert measure(model, rows).mean == pytest.approx(told[step], rel=1e-4)
    with pytest.raises(TrainError, match=r"no checkpoint of step 9; .* kept: 8, 16, 24, 32"):
        load_checkpoint(several.folder, 9)


def test_a_second_call_trains_nothing(several: Finished) -> None:
    def state() -> dict[str, int]:
        return {
            str(path): path.stat().st_mtime_ns
            for path in several.folder.rglob("*")
            if path.name not in ("train.json", "conversations.jsonl")
            and path.is_file()
            and "merged" not in path.parts
        }

    before, seen = state(), list[Progress]()
    assert train(several.folder, SEVERAL, several.base, SETTINGS, seen.append) == several.result
    assert state() == before
    assert seen == []


def test_a_folder_takes_no_other_run(several: Finished) -> None:
    other = SETTINGS.model_copy(update={"seed": 7})
    for rows, settings in ((SEVERAL, other), (SEVERAL[:3], SETTINGS)):
        with pytest.raises(TrainError, match="other settings, rows or base"):
            train(several.folder, rows, several.base, settings)


def test_what_cannot_be_trained_is_told_in_one_line(base: PreparedBase, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no conversation to train on"):
        train(tmp_path / "empty", [], base, SETTINGS)
    # The child refuses, and its reason arrives.
    held_out = [conversation("v", "validation", "q", "a")]
    with pytest.raises(TrainError, match="no conversation to train on is left") as raised:
        train(tmp_path / "held out", held_out, base, SETTINGS)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "held out" / "result.json").exists()


START = """
import pathlib, pickle, sys
from memoirist.train.loop import launch
rows, base, settings, child = pickle.loads(pathlib.Path(sys.argv[2]).read_bytes())
launch.command = lambda folder, gpus: [sys.executable, "-c", child, str(folder)]
launch.train(pathlib.Path(sys.argv[1]), rows, base, settings)
"""
# The training stops for the signal after a step, or it might be done before the signal comes.
HELD_AT = 12
CHILD = f"""
import pathlib, sys, time
from memoirist.train import qlora
from memoirist.train.loop import trainer
folder = pathlib.Path(sys.argv[1])
step_end = trainer.RunCallback.on_step_end
def held(self, args, state, control, **more):
    if state.global_step == {HELD_AT}:
        folder.with_suffix(".held").touch()
        while not self.interrupted:
            time.sleep(0.01)
    return step_end(self, args, state, control, **more)
trainer.RunCallback.on_step_end = held
sys.exit(qlora.main(folder))
"""


def interrupted(
    folder: Path, base: PreparedBase, number: int, settings: TrainSettings = SETTINGS
) -> None:
    """Train in a process of its own and send it signal `number` after `HELD_AT` steps."""
    import pickle

    asked = folder.with_suffix(".pickle")
    asked.write_bytes(pickle.dumps((SEVERAL, base, settings, CHILD)))
    with folder.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(folder), str(asked)],
            cwd=ROOT,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        held = folder.with_suffix(".held")
        while process.poll() is None and not held.exists():
            time.sleep(0.01)
        assert process.poll() is None, folder.with_suffix(".log").read_text()
        process.send_signal(number)
        process.wait(60)


def losses(folder: Path) -> dict[int, float]:
    """Return the training loss of each step; of a step done twice, the later one."""
    lines = map(json.loads, (folder / "progress.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if line["loss"] is not None}


def assert_same_run(result: TrainResult, undisturbed: Finished) -> None:
    wanted = undisturbed.result
    assert (result.steps, result.best_step) == (wanted.steps, wanted.best_step)
    assert result.base_eval_loss == pytest.approx(wanted.base_eval_loss, rel=1e-5)
    assert result.eval_loss == pytest.approx(wanted.eval_loss, rel=1e-3)
    ours, theirs = losses(result.adapter.parent), losses(undisturbed.folder)
    assert ours == pytest.approx(theirs, rel=2e-3)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(several: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # The parent is killed; the child must notice by itself and leave.
    interrupted(folder, several.base, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not _free(folder / "train.lock"):
        time.sleep(0.05)
    assert not (folder / "result.json").exists()
    torn = folder / "checkpoints" / "checkpoint-30"
    shutil.copytree(folder / "checkpoints" / "checkpoint-8", torn)
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    seen: list[Progress] = []
    result = train(folder, SEVERAL, several.base, SETTINGS, seen.append)
    assert seen[0].step - 1 == 8
    assert not torn.exists()
    assert_same_run(result, several)


def _free(lock: Path) -> bool:
    import fcntl

    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_ctrl_c_keeps_the_last_step(several: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # No checkpoint of its own is due before the end.
    rare = SETTINGS.model_copy(update={"save_every": 32})
    interrupted(folder, several.base, signal.SIGINT, rare)
    kept = last_whole_checkpoint(folder / "checkpoints")
    assert kept is not None
    assert kept.name == f"checkpoint-{HELD_AT}"
    assert not (folder / "result.json").exists()
    with pytest.raises(TrainError, match="not finished; train it first"):
        merge(folder, several.base, MergeSettings())
    seen: list[Progress] = []
    result = train(folder, SEVERAL, several.base, rare, seen.append)
    assert seen[0].step == HELD_AT + 1
    assert result.steps == 32


def test_the_merged_model_answers_as_base_and_adapter_do(
    several: Finished, merged: MergeResult
) -> None:
    from peft import PeftModel

    figures = merged.figures
    assert (figures["prompts"], figures["equal"] + figures["ties"]) == (18, 18)
    assert 0 <= figures["kl"] + 1e-6 < 5e-3
    assert figures["dequantised_kl"] < 1e-5
    assert figures["dequantised_loss"] == pytest.approx(figures["adapter_loss"], rel=1e-4)
    assert figures["loss"] == figures[f"{merged.way}_loss"] < figures["base_loss"]
    assert merged.alike
    assert figures["stopped"] == figures["adapter_stopped"]
    report = (several.folder / "parity.md").read_text("utf-8")
    assert f"| {merged.way} (kept) | 18 |" in report
    # And once more by hand, on the model that lies on the disk.
    quiet()
    tokenizer = AutoTokenizer.from_pretrained(merged.path)
    model = AutoModelForCausalLM.from_pretrained(merged.path)
    tuned = PeftModel.from_pretrained(load_base(several.base.path, "nf4"), several.result.adapter)
    prompts = [prompt_ids(row.messages[:1], tokenizer) for row in SEVERAL]
    answers = greedy(model, tokenizer, prompts, 40)
    assert answers == greedy(tuned, tokenizer, prompts, 40)
    assert [answer[-1] for answer in answers] == [several.base.end_id] * 10
    assert merged.way in merged.summary


def test_the_merged_folder_is_what_servers_read(several: Finished, merged: MergeResult) -> None:
    names = {path.name for path in merged.path.iterdir()}
    assert names >= {"model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"}
    weights = {".bin", ".pt", ".pth", ".pkl", ".safetensors"}
    assert [name for name in names if Path(name).suffix in weights] == ["model.safetensors"]
    for name in ("config.json", "generation_config.json"):
        told: dict[str, Any] = json.loads((merged.path / name).read_text())
        ends = told["eos_token_id"]
        assert (ends[0] if isinstance(ends, list) else ends) == several.base.end_id
        assert "quantization_config" not in told
    assert not (several.folder / "merged.making").exists()


def test_a_second_merge_reads_the_first(several: Finished, merged: MergeResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in merged.path.iterdir()}
    assert merge(several.folder, several.base, MergeSettings()) == merged
    assert {path: path.stat().st_mtime_ns for path in merged.path.iterdir()} == before


def test_a_killed_merge_is_repeated(several: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(several.folder, folder, ignore=shutil.ignore_patterns("merged*", "check*"))
    for left in ("merged.making", "merged"):
        (folder / left).mkdir()
        (folder / left / "model.safetensors").write_bytes(b"half")
    small = MergeSettings(method="dequantised", dtype="bfloat16", prompts=2, max_new_tokens=12)
    made = merge(folder, several.base, small)
    assert (made.way, made.dtype) == ("dequantised", "bfloat16")
    assert made.figures["prompts"] == 2
    assert made.figures["kl"] < 0.05
    assert not (folder / "merged.making").exists()
    quiet()
    assert AutoModelForCausalLM.from_pretrained(made.path).dtype == torch.bfloat16
    assert merge(folder, several.base, small) == made
    # Other settings of [merge], another merge.
    # A large base is saved in bfloat16 only as long as that answers like base + adapter.
    told: list[str] = []
    large = replace(several.base, n_parameters=2_000_000_000)
    auto = small.model_copy(update={"dtype": "auto"})
    again = merge(folder, large, auto, tell=told.append)
    assert again.dtype == ("bfloat16" if made.alike else "float32")
    assert again.alike
    assert "MB of memory" in told[0]


def test_an_adapter_is_not_merged_into_another_base(several: Finished, tmp_path: Path) -> None:
    source = tmp_path / "other"
    shutil.copytree(ROOT / "train" / "tiny_base", source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    other = prepare_base(str(source), tmp_path / "bases")
    with pytest.raises(TrainError, match="was trained on another base than 'other'"):
        merge(several.folder, other, MergeSettings())
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    with pytest.raises(TrainError, match="is not finished"):
        merge(unfinished, several.base, MergeSettings())


def test_held_out_loss_is_the_mean_over_answer_tokens(
    several: Finished, merged: MergeResult
) -> None:
    held_out = next(row for row in SEVERAL if row.split == "test")
    examples = SEVERAL[0].messages
    losses = {}
    for name, path in {"base": several.base.path, "tuned": merged.path}.items():
        papers = {
            "alone": PredictionInputs(held_out=[held_out], prompts=()),
            "shown": PredictionInputs(held_out=[held_out], prompts=(), examples=examples),
        }
        sat = predict(path, papers, EvaluateSettings())
        for paper, before in (("alone", []), ("shown", examples)):
            messages = [*before, *held_out.messages]
            row = tokenize(messages, AutoTokenizer.from_pretrained(path), 1000)
            assert row is not None
            model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
            with torch.inference_mode():
                likely = model(torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
            labelled = [(at, label) for at, label in enumerate(row.labels) if label != IGNORE]
            # Of the examples' answers nothing counts: the last one alone is the held-out one.
            first = max(at for at, _ in labelled if row.labels[at - 1] == IGNORE)
            by_hand = [-float(likely[at - 1, label]) for at, label in labelled if at >= first]
            loss = sat[paper].losses[held_out.id]
            assert loss.tokens == len(by_hand)
            assert loss.mean == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)
            losses[name, paper] = loss.mean
    assert losses["tuned", "alone"] < losses["base", "alone"]
    assert losses["base", "shown"] != losses["base", "alone"]


def test_answers_are_those_of_one_prompt_alone(merged: MergeResult) -> None:
    prompts = [row.messages[:1] for row in SEVERAL[:5]]
    likeliest = EvaluateSettings(temperature=0, max_new_tokens=40, batch=2)
    paper = PredictionInputs(
        held_out=(), prompts=prompts, honest=prompts[:1], plain=instructions()[:3]
    )
    sat = predict(merged.path, {"tuned": paper}, likeliest)["tuned"]
    model, tokenizer = load_base(merged.path, "none"), AutoTokenizer.from_pretrained(merged.path)
    ids = [prompt_ids(prompt, tokenizer) for prompt in prompts]
    alone = [greedy(model, tokenizer, [each], 40)[0] for each in ids]
    said = [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in alone]
    assert [answer.text for answer in sat.answers] == said
    assert all(answer.finished for answer in sat.answers)
    assert [answer.text for answer in sat.honest] == said[:1]
    assert [len(attempt.losses) for attempt in sat.attempts] == [4, 4, 4]
    cut = predict(
        merged.path,
        {"tuned": PredictionInputs(held_out=(), prompts=prompts[:1])},
        likeliest.model_copy(update={"max_new_tokens": 8}),
    )["tuned"]
    assert not cut.answers[0].finished


def test_a_seed_repeats_the_drawn_answers(base: PreparedBase) -> None:
    paper = {
        "base": PredictionInputs(held_out=(), prompts=[row.messages[:1] for row in SEVERAL[:3]])
    }
    settings = EvaluateSettings(max_new_tokens=12)
    first, again = (predict(base.path, paper, settings)["base"].answers for _ in range(2))
    other = predict(base.path, paper, settings.model_copy(update={"seed": 7}))["base"].answers
    assert first == again
    assert first != other


def test_a_row_that_does_not_fit_is_left_out(base: PreparedBase) -> None:
    paper = {"base": PredictionInputs(held_out=SEVERAL[-2:], prompts=())}
    found = predict(base.path, paper, EvaluateSettings(max_length=64))["base"].losses
    assert set(found) == {"field"}
