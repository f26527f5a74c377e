"""Give a model the two special tokens of ChatML, with as little change to it as possible."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.chatml import IM_END, IM_START, TEMPLATE
from memoirist.train.dataset.chat_template import end_of_turn
from memoirist.train.dataset.tokenize import BOS_PREFIX, opens_with_bos

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


PAD = "<|pad|>"
# Names under which Llama 3, Gemma, Mistral and Phi keep rows for whoever needs a token.
_RESERVED = re.compile(
    r"<\|reserved_special_token_\d+\|>|<unused\d+>|<SPECIAL_\d+>|\[control_\d+\]|<\|dummy_\d+\|>"
)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The tokenizer with ChatML tokens; `new_ids` have rows that were never trained."""

    tokenizer: PreTrainedTokenizerBase
    start_id: int
    end_id: int
    new_ids: tuple[int, ...]
    original_end_id: int | None


def assign(tokenizer: PreTrainedTokenizerBase, rows: int, scratch: Path) -> SpecialTokens:
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


def finish(model: PreTrainedModel, tokens: SpecialTokens) -> None:
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
