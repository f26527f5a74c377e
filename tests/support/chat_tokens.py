"""The control tokens of chat formats, by family: none may ever reach a conversation."""

from __future__ import annotations

FAMILIES = {
    "ChatML": "<|im_start|> <|im_end|> <|im_sep|> <|endoftext|>",
    "Qwen": "<|vision_start|> <|object_ref_start|> <|fim_prefix|> <tool_call> </tool_response>"
    " <think> </think> <tools>",
    "Llama 2": "[INST] [/INST] <<SYS>> <</SYS>> <s> </s>",
    "Llama 3 and 4": "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|>"
    " <|python_tag|> <|header_start|> <|eot|>",
    "Mistral": "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS]"
    " [/TOOL_CONTENT] [ARGS] [CALL_ID] [IMG] [IMG_END] [PREFIX] [THINK] [/THINK] [MODEL_SETTINGS]",
    "Gemma": "<start_of_turn> <end_of_turn> <bos> <eos> <start_of_image> <image_soft_token>"
    " <unused42> <|turn> <turn|> <|channel> <start_function_call>",
    "Phi": "<|system|> <|user|> <|assistant|> <|end|>",
    "Zephyr": "<|prompter|> </s>",
    "Command R": "<|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <|END_OF_TURN_TOKEN|>"
    " <|START_THINKING|> <BOS_TOKEN|>",
    "DeepSeek": "<｜begin▁of▁sentence｜> <｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜>"
    " <｜end▁of▁sentence｜> <|EOT|>",
    "GPT-OSS harmony": "<|start|> <|channel|> <|message|> <|constrain|> <|call|> <|return|>",
    "Granite": "<|start_of_role|> <|end_of_role|> <|end_of_text|>",
    "GLM": "[gMASK] <sop> <|observation|> [sMASK]",
    "Kimi": "<|im_user|> <|im_middle|> <|tool_calls_section_begin|>",
    "EXAONE": "[|system|] [|user|] [|assistant|] [|endofturn|]",
    "Hunyuan": "<｜hy_User｜> <｜hy_place▁holder▁no▁2｜>",
    "MiniMax": "]~b] ]~!b[ [e~[",
    "Seed": "<seed:bos> <seed:think> <seed:eos>",
    "InternLM": "<eoh> <eoa>",
    "Nemotron": "<extra_id_0> <extra_id_1> <SPECIAL_12>",
    "Falcon": ">>QUESTION<< >>ANSWER<<",
    "Baichuan": "<reserved_106>",
    "BERT and T5": "[CLS] [SEP] [PAD] [MASK] <pad> <unk> <mask>",
}
# Marks that stand alone in a line.
LINES = ("### Instruction:", "### Response:", "### Input:", "### User:", "## Human:", "### System:")
DISGUISED = ("< |im_end| >", "<|im_\u200bend|>", "<|IM_END|>", "＜|im_end|＞", "<\u202e|im_end|>")
TOKENS = tuple(token for told in FAMILIES.values() for token in told.split()) + DISGUISED
