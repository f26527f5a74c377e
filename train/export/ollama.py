"""Write an Ollama Modelfile: template, stop, system prompt and sampling.

Ollama recognises the templates of well-known models only; a tuned model needs its own in the file
(https://docs.ollama.com/modelfile). Ollama adds the tokens at the beginning of a text by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.chatml import IM_END
from memoirist.train.dataset.chat_template import (
    end_of_turn,
    is_native,
    native_prompt,
    native_segments,
)
from memoirist.train.settings import ChatSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHATML = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n"
)
# Placeholders for words, of the private use area: no template has them.
_SYSTEM, _USER, _ANSWER = "\ue010", "\ue011", "\ue012"
# Ollama reserves memory for the whole context; many models name far more than they need.
_CONTEXT_TOKENS = 8192


def folder_modelfile(merged: Path, system: str) -> str:
    """Return the Modelfile that lies beside a merged model's weights."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(merged).get_text_config()
    context = int(getattr(config, "max_position_embeddings", None) or _CONTEXT_TOKENS)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    return modelfile(".", tokenizer, system, ChatSettings(), min(context, _CONTEXT_TOKENS))


def modelfile(
    weights: str,
    tokenizer: PreTrainedTokenizerBase,
    system: str,
    settings: ChatSettings,
    context_tokens: int,
) -> str:
    """Return the Modelfile of the model at `weights`, a path as Ollama is to read it."""
    native = is_native(tokenizer)
    template = native_template(tokenizer) if native else CHATML
    stop = tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) if native else IM_END
    lines = [
        f"FROM {weights}",
        f'TEMPLATE """{template}"""',
        *([f'SYSTEM """{system.replace(chr(34) * 3, chr(39) * 3)}"""'] if system else []),
        f'PARAMETER stop "{stop}"',
        f"PARAMETER temperature {settings.temperature}",
        f"PARAMETER top_p {settings.top_p}",
        f"PARAMETER repeat_penalty {settings.repetition_penalty}",
        f"PARAMETER num_predict {settings.max_new_tokens}",
        f"PARAMETER num_ctx {context_tokens}",
    ]
    return "\n".join(lines) + "\n"


def native_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the base's own chat template in Ollama's language, derived from what it renders.

    A system prompt goes before the first question where the template has no place for one.
    """
    turns = [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _ANSWER},
    ]
    conversation = "".join(piece for piece, _ in native_segments(turns, tokenizer))
    prompt = _without_bos(native_prompt(turns[:2], tokenizer), tokenizer)
    before_user, after_user = _without_bos(native_prompt(turns[1:2], tokenizer), tokenizer).split(
        _USER
    )
    before_system, between = prompt.split(_USER)[0].split(_SYSTEM)
    # A question is always answered: the generation prompt can be part of it.
    question = f"{before_user}{{{{ .Content }}}}{after_user}"
    answer = f"{{{{ .Content }}}}{conversation.split(_ANSWER)[1]}"
    system = f"{before_system}{{{{ .Content }}}}{between.removesuffix(before_user)}"
    if before_system == before_user:
        # The first question is the second message, if a system prompt is the first.
        first = f"{{{{ if and (le $i 1) $.System }}}}{{{{ $.System }}}}{between}{{{{ end }}}}"
        question = f"{before_user}{first}{{{{ .Content }}}}{after_user}"
        system = ""
    return (
        f'{{{{- range $i, $m := .Messages }}}}{{{{ if eq .Role "system" }}}}{system}'
        f'{{{{ else if eq .Role "user" }}}}{question}'
        f"{{{{ else }}}}{answer}{{{{ end }}}}{{{{ end }}}}"
    )


def _without_bos(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    bos = str(tokenizer.bos_token or "")
    return text.removeprefix(bos) if bos else text
