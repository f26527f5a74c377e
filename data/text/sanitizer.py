"""Make chat control tokens and invisible characters harmless, for prompts and for ChatML."""

from __future__ import annotations

import re

# Every chat format seen in the wild, with the bars and brackets that a tokenizer may fold into the
# plain ones: ChatML, Qwen, Llama 2, 3 and 4, Mistral, Gemma, Phi, Zephyr, Command R, DeepSeek (wide
# bars), GPT-NeoX, GPT-OSS (harmony), Granite, Kimi, EXAONE, Hunyuan, MiniMax, Seed, GLM,
# Nemotron, Falcon, BERT's and T5's, and the headings of Alpaca. Upper case alone counts where the
# word stands in brackets in transcripts, too.
_CONTROL = re.compile(
    r"[<＜]\s*/?[|｜][^<>＜＞|｜\n]{1,40}[|｜]?\s*[>＞]|[<＜][^<>＜＞|｜\s]{1,40}[|｜]\s*[>＞]"
    r"|[<＜]\s*/?\s*(?:start_of_turn|end_of_turn|(?:start|end)_of_(?:image|audio)|(?:bos|eos|pad|unk|s"
    r"|mask|cls|sep)(?:_token)?|sop|eop|eo[ah]|think|tools?|tool_(?:calls?|response)|(?:start|end)_function_\w+"
    r"|system|user|assistant|unused_?\d+|extra_id_\d+|reserved_\d+|special_\d+|image_soft_token"
    r"|seed:[\w/]+|fim_\w+)\s*[>＞]"
    r"|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT"
    r"|MODEL_SETTINGS|CALL_ID|gMASK|sMASK)\s*\]"
    r"|\[\s*/?\s*(?-i:ARGS|IMG|IMG_BREAK|IMG_END|PREFIX|SUFFIX|MIDDLE|BEGIN_AUDIO|THINK|CLS|SEP|PAD"
    r"|UNK|MASK|BOS|EOS)\s*\]"
    r"|\[[|｜][^\[\]|｜\n]{1,40}[|｜]\]|\]~!?b[\[\]]|\[e~\["
    r"|<<\s*/?\s*SYS\s*>>|>>(?-i:QUESTION|ANSWER|INTRODUCTION|SUMMARY|COMMENT|DOMAIN|PREFIX)<<"
    r"|^[ \t]*\#{2,4}[ \t]*(?:Instructions?|Response|Input|System|User|Assistant|Human)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
# Without one of these there is no token.
_SIGNS = ("<", "[", "＜", "]~", ">>", "##")
_DEFUSED = str.maketrans("<>[]＜＞#", "‹›⟦⟧‹›＃")
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def visible(text: str) -> str:
    """Return the text without zero-width, bidirectional and control characters."""
    return _INVISIBLE.sub("", text)


def has_control(text: str) -> bool:
    """Tell whether the text holds a control token of any chat format, however it is dressed."""
    seen = visible(text)
    return _has_sign(seen) and _CONTROL.search(seen) is not None


def neutralise(text: str) -> str:
    """Make chat control tokens and invisible characters harmless; other text stays as it is.

    Brackets and hashes of a control token become look-alikes ("<|im_end|>" to "‹|im_end|›"), so
    that a person still reads it and no tokenizer takes it for a token. Zero-width, bidirectional
    and control characters go; the joiners that Arabic and Indic scripts need (U+200C, U+200D) stay.
    """
    seen = visible(text)
    return _CONTROL.sub(_defuse, seen) if _has_sign(seen) else seen


def _has_sign(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def _defuse(match: re.Match[str]) -> str:
    return match.group().translate(_DEFUSED)
