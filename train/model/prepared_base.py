"""Prepare a base model with ChatML tokens, once; it is then trained on and merged into.

Two resizes of one model give different rows, and then the adapter fits neither. So the base is
changed once, saved with its tokenizer, template and end token, and identified by a hash afterwards.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from memoirist.data.composition.chatml import IM_END, IM_START, TEMPLATE
from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.chat_template import end_of_turn
from memoirist.train.dataset.tokenize import BOS_PREFIX, opens_with_bos
from memoirist.train.disk import file_sizes, need_disk
from memoirist.train.settings import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TINY = Path(__file__).parents[1] / "tiny_base"
MANIFEST = "prepared.json"
# The base's sentencepiece model, under a name that no tokenizer loads.
SENTENCEPIECE = "sentencepiece.model"
# Raise this when preparation changes, so that an older prepared base is not taken for the same one.
VERSION = 1
# Hashing 16 GB at every start would take longer than loading them: above this only sizes are
# compared.
FULL_HASH_BYTES = 2**30

PAD = "<|pad|>"
# Names under which Llama 3, Gemma, Mistral and Phi keep rows for whoever needs a token.
_RESERVED = re.compile(
    r"<\|reserved_special_token_\d+\|>|<unused\d+>|<SPECIAL_\d+>|\[control_\d+\]|<\|dummy_\d+\|>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBase:
    """A base on disk that training, merge and chat share; `hash` covers every file of it."""

    path: Path
    hash: str
    name: str
    n_parameters: int
    vocabulary: int
    start_id: int
    end_id: int
    new_ids: tuple[int, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


def prepare_base(
    base_model: str, bases_folder: Path, template: Template = "chatml"
) -> PreparedBase:
    """Return the prepared base of `tiny`, a local folder or a hub id, making it when it is new.

    It answers in ChatML, or with `native` in its own chat template. Raises TrainError when the
    model cannot be found, read or changed, or is damaged.
    """
    source = TINY if base_model == "tiny" else Path(base_model).expanduser()
    # A hub id and a missing folder look alike; a dot, a slash in front or two slashes say folder.
    if not source.is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", base_model):
        raise TrainError(
            f"there is no model at {base_model!r}",
            "give `tiny`, a folder with config.json or a hub id",
        )
    local = source.is_dir()
    fingerprint = _fingerprint(source) if local else hashlib.sha256(base_model.encode()).hexdigest()
    name = source.name if local else base_model
    folder = bases_folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}-{fingerprint[:12]}"
    if template == "native":
        folder = folder.with_name(f"{folder.name}-native")
    if not (folder / MANIFEST).exists():
        _prepare(str(source) if local else base_model, folder, template)
    return read_base(folder)


def read_base(folder: Path) -> PreparedBase:
    """Return the prepared base in `folder`; raises TrainError when a file of it has changed."""
    damaged = TrainError(
        f"the prepared base {str(folder)!r} is damaged or was changed",
        "remove that folder and it is made again; adapters trained on it have to be trained again",
    )
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["new_ids"] = tuple(manifest["new_ids"])
        base = PreparedBase(path=folder, **manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged from error
    small = sum(base.sizes.values()) <= FULL_HASH_BYTES
    if file_sizes(folder, without=MANIFEST) != base.sizes or (small and _hash(folder) != base.hash):
        raise damaged
    return base


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, at most 300 characters, else its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def readable(base_model: str) -> Iterator[None]:
    """Turn whatever loading `base_model` raises into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, HfHubHTTPError) as error:
        reason = first_line(error)
        step = (
            "check that config.json, tokenizer.json and the safetensors files are whole"
            if Path(base_model).is_dir()
            else "connect to the hub once, give a local folder, or take base_model `tiny`"
        )
        what = f"the base model {base_model!r} cannot be loaded ({reason})"
        raise TrainError(what, step) from error


def unreachable(model_id: str) -> bool:
    """Ask the hub once: loading would ask for each file, six times, for a minute without a net."""
    from huggingface_hub import HfApi

    # Of httpx or httpx2, whichever this hub client was built on.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        HfApi().model_info(model_id, timeout=10)
    except HfHubHTTPError:
        # The hub answers, if only that there is no such model; loading reports that.
        return False
    except (HTTPError, OSError):
        return True
    return False


def _prepare(source: str, folder: Path, template: Template) -> None:
    """Make the prepared base of `source` under a temporary name and rename it to `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        need_disk(folder.parent, 2 * sum(file_sizes(Path(source), without=MANIFEST).values()))
    temporary = Path(mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        with readable(source):
            manifest = _write_base(source, temporary, template)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder without its manifest is the rest of a killed run.
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_base(source: str, target: Path, template: Template) -> dict[str, Any]:
    """Write model and tokenizer of `source`, prepared, to `target`; return the manifest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from memoirist.train.model.model_loader import quiet

    quiet()
    options: dict[str, Any] = {
        "trust_remote_code": False,
        "local_files_only": not Path(source).is_dir() and unreachable(source),
    }
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    # Safetensors only: a pickle would run code of whoever made it.
    model, report = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, use_safetensors=True, output_loading_info=True, **options
    )
    _refuse_holes(source, model, report)
    rows, n_tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    tokens = (
        keep_native(tokenizer, rows)
        if template == "native"
        else assign_tokens(tokenizer, rows, target)
    )
    fill_rows(model, tokens, n_tokens)
    write_token_ids(model, tokens)
    model.save_pretrained(target)
    tokens.tokenizer.save_pretrained(target)
    _keep_sentencepiece(source, target, cached=options["local_files_only"])
    base = PreparedBase(
        path=target,
        hash=_hash(target),
        name=Path(source).name if Path(source).is_dir() else source,
        n_parameters=model.num_parameters(),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        start_id=tokens.start_id,
        end_id=tokens.end_id,
        new_ids=tokens.new_ids,
        sizes=file_sizes(target, without=MANIFEST),
    )
    return {name: value for name, value in asdict(base).items() if name != "path"}


def _refuse_holes(source: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise when weights are missing or not numbers: loading would fill them at random."""
    import torch

    fault = None
    if missing := sorted(report.get("missing_keys", ())):
        fault = f"lacks {len(missing)} weights, {missing[0]!r} among them"
    for name, weight in model.named_parameters():
        if fault is None and not torch.isfinite(weight).all():
            fault = f"has weights in {name!r} that are not numbers"
    if fault is not None:
        raise TrainError(f"the base model {source!r} {fault}", "download it again")


def _keep_sentencepiece(source: str, target: Path, *, cached: bool) -> None:
    """Copy the sentencepiece model of families that have one.

    llama.cpp needs it to convert Gemma and Phi. Under its own name tokenizers would read it, and
    with it the vocabulary without the tokens that were renamed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = Path(source) / "tokenizer.model"
    if not Path(source).is_dir():
        try:
            path = Path(hf_hub_download(source, "tokenizer.model", local_files_only=cached))
        except (EntryNotFoundError, LocalEntryNotFoundError):
            return
    if path.is_file():
        shutil.copyfile(path, target / SENTENCEPIECE)


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in sorted(file_sizes(folder, without=MANIFEST)):
        digest.update(name.encode())
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _fingerprint(source: Path) -> str:
    """Hash the small files of a local model by content and its large ones by size and time."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for name, size in sorted(file_sizes(source, without=MANIFEST).items()):
        path = source / name
        large = size >= 2**26
        content = f"{size} {path.stat().st_mtime_ns}".encode() if large else path.read_bytes()
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The tokenizer with ChatML tokens; `new_ids` have rows that were never trained."""

    tokenizer: PreTrainedTokenizerBase
    start_id: int
    end_id: int
    new_ids: tuple[int, ...]
    original_end_id: int | None


def assign_tokens(tokenizer: PreTrainedTokenizerBase, rows: int, scratch: Path) -> SpecialTokens:
    """Return `tokenizer` with ChatML tokens: those that it has, else reserved, spare or new ones.

    `rows` is the height of the model's embedding; `scratch` takes the tokenizer's files while
    reserved tokens are renamed. Ids at or above `rows` ask for the one resize.
    """
    original_end, known = tokenizer.eos_token_id, set(tokenizer.get_vocab())
    missing = [token for token in (IM_START, IM_END) if token not in known]
    reserved = _reserved(tokenizer, rows)
    if missing and len(reserved) >= len(missing):
        tokenizer = _rename(tokenizer, dict(zip(reserved, missing, strict=False)), scratch)
    # Without this a ChatML token that stands in the vocabulary as plain text would be split.
    # A spare row is taken by the same call: new ids continue after the tokenizer's last one.
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [IM_START, IM_END]}, replace_extra_special_tokens=False
    )
    start, end = (int(tokenizer.convert_tokens_to_ids(token)) for token in (IM_START, IM_END))
    new = tuple(int(tokenizer.convert_tokens_to_ids(token)) for token in missing)
    opens_with_bos = _adds_bos(tokenizer)
    tokenizer.eos_token = IM_END
    # The end token must never be what padding looks like, or masking it would unlearn stopping.
    # The base's own end token is free now that <|im_end|> ends a turn.
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == end:
        if original_end is not None and original_end != end:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(original_end)
        else:
            tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.chat_template = (BOS_PREFIX if opens_with_bos else "") + TEMPLATE
    return SpecialTokens(tokenizer, start, end, new, original_end)


def keep_native(tokenizer: PreTrainedTokenizerBase, rows: int) -> SpecialTokens:
    """Return `tokenizer` with its own chat template, and a token to pad with that ends nothing.

    Raises TrainError when it has no template, or one that ends no answer with a token.
    """
    end, original_end = end_of_turn(tokenizer), tokenizer.eos_token_id
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in (end, original_end):
        spare = [*_reserved(tokenizer, rows), *filter(None, [tokenizer.unk_token])]
        if spare:
            tokenizer.pad_token = spare[0]
        else:
            tokenizer.add_special_tokens({"pad_token": PAD})
    if original_end is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    return SpecialTokens(tokenizer, end, end, (), original_end)


def fill_rows(model: PreTrainedModel, tokens: SpecialTokens, original_length: int) -> None:
    """Resize `model` if needed, and give the new rows meaningful values to start from.

    `original_length` is the number of tokens that the base's own tokenizer had.

    <|im_end|> starts as the base's end token, which it replaces; <|im_start|> and all other new
    rows as the mean. No draw is involved: preparing twice gives the same weights.
    """
    import torch

    height = model.get_input_embeddings().weight.shape[0]
    used = min(height, original_length)
    if len(tokens.tokenizer) > height:
        model.resize_token_embeddings(
            len(tokens.tokenizer), pad_to_multiple_of=64, mean_resizing=False
        )
    matrices = {
        id(layer.weight): layer.weight
        for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        if layer is not None
    }
    with torch.no_grad():
        for weight in matrices.values():
            mean = weight[:used].float().mean(dim=0).to(weight.dtype)
            weight[height:] = mean
            for token in tokens.new_ids:
                ends = token == tokens.end_id and tokens.original_end_id is not None
                weight[token] = weight[tokens.original_end_id] if ends else mean


def write_token_ids(model: PreTrainedModel, tokens: SpecialTokens) -> None:
    """Write end, padding and beginning into config and generation_config, as servers read them."""
    from transformers import GenerationConfig

    tokenizer = tokens.tokenizer
    bos = tokenizer.bos_token_id if opens_with_bos(tokenizer) else None
    # Families with eyes have a config within the config; servers read the one or the other.
    for config in (model.config, model.config.get_text_config()):
        config.eos_token_id = tokens.end_id
        config.pad_token_id = tokenizer.pad_token_id
        config.bos_token_id = bos
    # The base's own end token stops an answer too: a half-trained model may still prefer it.
    ends = [tokens.end_id]
    if tokens.original_end_id is not None and tokens.original_end_id not in ends:
        ends.append(tokens.original_end_id)
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, bos_token_id=bos
    )


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _reserved(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[str]:
    """Return the reserved tokens that the model has rows for, lowest id first."""
    vocabulary = tokenizer.get_vocab()
    names = [name for name, at in vocabulary.items() if _RESERVED.fullmatch(name) and at < rows]
    return sorted(names, key=lambda name: vocabulary[name])


def _rename(
    tokenizer: PreTrainedTokenizerBase, names: dict[str, str], scratch: Path
) -> PreTrainedTokenizerBase:
    """Return `tokenizer` with tokens renamed in its files: no method of it can do that."""
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(scratch)
    for path in scratch.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        for old, new in names.items():
            # Both ways in which JSON writers spell a string, quotes included: whole names only.
            text = text.replace(json.dumps(old, ensure_ascii=False), json.dumps(new))
            text = text.replace(json.dumps(old), json.dumps(new))
        path.write_text(text, encoding="utf-8")
    renamed: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(scratch)
    return renamed
