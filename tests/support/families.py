"""Tiny random models of the families that people tune, with the real config and tokenizer classes.

Nothing is fetched: the tokenizers are trained here on a few lines, and carry the special tokens of
their family where the published ones have them. Widths are divisible by 32, as 4-bit wants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from memoirist.train.model.model_loader import quiet

CHATML = ("<|im_start|>", "<|im_end|>")


def _template(opens: str, head: str, end: str, ask: str) -> str:
    """Return a chat template of the shape that most families publish."""
    return (
        f"{opens}{{% for message in messages %}}{head}{{{{ message['content'] | trim }}}}{end}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{ask}{{% endif %}}"
    )


# The first Gemma and Mistral chats have no place for a system prompt, and say so.
_NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
_GEMMA_ROLE = "{{ 'model' if message['role'] == 'assistant' else 'user' }}"
# What the published chat models of a family carry; families that have none are left out.
NATIVE = {
    "Llama 3": _template(
        "{{ bos_token }}",
        "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "Mistral": _NO_SYSTEM
    + "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'] }} [/INST]{% else %}{{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}",
    "Gemma 2": _template(
        f"{_NO_SYSTEM}{{{{ bos_token }}}}",
        f"<start_of_turn>{_GEMMA_ROLE}\n",
        "<end_of_turn>\n",
        "<start_of_turn>model\n",
    ),
    "Phi 3": _template("", "<|{{ message['role'] }}|>\n", "<|end|>\n", "<|assistant|>\n"),
}
_WORDS = (
    "The river rose above the old mill, and my father stood at the door with a lantern.",
    "Who are you? What would you do differently? I was born in the year of the great frost.",
    "user\nassistant\nsystem\n",
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: how its model and tokenizer are made; `spare` rows lie beyond its tokens."""

    model: str
    tokens: Callable[[Sequence[str], Sequence[str]], Any]
    special: Sequence[str]
    names: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    eyes: Mapping[str, Any] = field(default_factory=dict)
    spare: int = 0
    tied: bool = False


def _byte_level(special: Sequence[str], last: Sequence[str]) -> Tokenizer:
    """Train a byte-level BPE whose special tokens come first and `last`."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_WORDS, trainer)
    core.add_special_tokens(list(last))
    return core


def _pieces(special: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train pieces as sentencepiece does: spaces are letters, unknown letters fall to bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    told = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=told, show_progress=False)
    core.train_from_iterator([line.replace("\n", " ") for line in _WORDS], trainer)
    import json

    trained = json.loads(core.to_str())["model"]
    return trained["vocab"], [tuple(pair) for pair in trained["merges"]]


def _of_pieces(class_name: str, **options: Any) -> Callable[..., Any]:
    def make(special: Sequence[str], names: Mapping[str, str]) -> Any:
        vocabulary, merges = _pieces(special)
        tokenizer = getattr(transformers, class_name)(
            vocab=vocabulary, merges=merges, **names, **options
        )
        plain = {"<unk>", *names.values()}
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [each for each in special if each not in plain]}
        )
        return tokenizer

    return make


def _of_bytes(class_name: str, **options: Any) -> Callable[..., Any]:
    def make(special: Sequence[str], names: Mapping[str, str]) -> Any:
        import json

        trained = json.loads(_byte_level(special, ()).to_str())["model"]
        tokenizer = getattr(transformers, class_name)(
            vocab=trained["vocab"],
            merges=[tuple(pair) for pair in trained["merges"]],
            **names,
            **options,
        )
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
        return tokenizer

    return make


def _llama3(special: Sequence[str], names: Mapping[str, str]) -> Any:
    """Return what Llama 3 publishes: special tokens last, and a post-processor that adds BOS."""
    core = _byte_level((), special)
    bos = names["bos_token"]
    core.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
            ),
        ]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **names)


_SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_GEMMA = {**_SMALL, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64}
_GEMMA_TOKENS = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
    *(f"<unused{n}>" for n in range(8)),
    *("<start_of_turn>", "<end_of_turn>"),
)
_GEMMA_NAMES = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
_S = {"bos_token": "<s>", "eos_token": "</s>"}
_END = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}

FAMILIES: dict[str, Family] = {
    "Llama 2": Family(
        model="Llama",
        tokens=_of_pieces("LlamaTokenizer", add_bos_token=True),
        special=("<unk>", "<s>", "</s>"),
        names=_S,
        fields={**_SMALL, "num_key_value_heads": 4},
    ),
    "Llama 3": Family(
        model="Llama",
        tokens=_llama3,
        special=(
            *("<|begin_of_text|>", "<|end_of_text|>"),
            *(f"<|reserved_special_token_{n}|>" for n in range(2)),
            *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            *(f"<|reserved_special_token_{n}|>" for n in range(2, 8)),
        ),
        names={"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        fields={
            **_SMALL,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128,
            },
        },
    ),
    "Mistral": Family(
        model="Mistral",
        tokens=_of_pieces("LlamaTokenizer", add_bos_token=True),
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[control_8]", "[control_9]"),
        names=_S,
        fields={**_SMALL, "sliding_window": 64},
    ),
    "Qwen2": Family(
        model="Qwen2",
        tokens=_of_bytes("Qwen2Tokenizer"),
        special=("<|endoftext|>",),
        names=_END,
        fields=_SMALL,
        spare=40,
        tied=True,
    ),
    "Qwen3": Family(
        model="Qwen3",
        tokens=_of_bytes("Qwen2Tokenizer"),
        special=("<|endoftext|>", "<|object_ref_start|>"),
        names=_END,
        fields={**_SMALL, "head_dim": 32},
        spare=40,
        tied=True,
    ),
    "Gemma 2": Family(
        model="Gemma2",
        tokens=_of_pieces("GemmaTokenizer", add_bos_token=True),
        special=_GEMMA_TOKENS,
        names=_GEMMA_NAMES,
        fields={**_GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        tied=True,
    ),
    "Gemma 3": Family(
        model="Gemma3",
        tokens=_of_pieces("GemmaTokenizer", add_bos_token=True),
        special=_GEMMA_TOKENS,
        names=_GEMMA_NAMES,
        fields=_GEMMA,
        spare=3,
        tied=True,
    ),
    # From 4B on, Gemma 3 has eyes: the text model lies within a larger one.
    "Gemma 3 with eyes": Family(
        model="Gemma3",
        tokens=_of_pieces("GemmaTokenizer", add_bos_token=True),
        special=_GEMMA_TOKENS,
        names=_GEMMA_NAMES,
        fields=_GEMMA,
        eyes={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        tied=True,
    ),
    "Phi 3": Family(
        model="Phi3",
        tokens=_of_pieces("LlamaTokenizer", add_bos_token=False),
        special=("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"),
        names={"bos_token": "<s>", **_END},
        fields={**_SMALL, "pad_token_id": 3},
        spare=27,
    ),
    "GPT-NeoX": Family(
        model="GPTNeoX",
        tokens=_of_bytes("GPTNeoXTokenizer"),
        special=("<|endoftext|>", "<|padding|>"),
        names={"pad_token": "<|padding|>"},
        fields={k: v for k, v in _SMALL.items() if k != "num_key_value_heads"},
        spare=27,
    ),
    "OPT": Family(
        model="OPT",
        tokens=_of_bytes("GPT2Tokenizer", add_bos_token=True),
        special=("<s>", "<pad>", "</s>", "<unk>"),
        names={
            "bos_token": "</s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        fields={
            "hidden_size": 64,
            "ffn_dim": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 64,
        },
        tied=True,
    ),
}


def make_family(folder: Path, name: str, *, chatml: bool = False, tied: bool | None = None) -> Path:
    """Save a random model of family `name`, with the ChatML tokens in its vocabulary or without."""
    quiet()
    family = FAMILIES[name]
    special = [*family.special, *(CHATML if chatml else ())]
    tokenizer = family.tokens(special, family.names)
    tokenizer.chat_template = NATIVE.get(name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    tie = family.tied if tied is None else tied
    fields = {
        "vocab_size": len(tokenizer) + family.spare,
        "tie_word_embeddings": tie,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **family.fields,
    }
    if family.eyes:
        config = transformers.Gemma3Config(
            text_config=fields,
            vision_config=dict(family.eyes),
            mm_tokens_per_image=4,
            tie_word_embeddings=tie,
        )
        model: Any = transformers.Gemma3ForConditionalGeneration(config)
    else:
        name = "Gemma3TextConfig" if family.model == "Gemma3" else f"{family.model}Config"
        model = getattr(transformers, f"{family.model}ForCausalLM")(
            getattr(transformers, name)(**fields)
        )
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
