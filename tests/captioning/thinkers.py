"""Processors of models that think, tiny, with the structure of the real chat templates. No weights."""

from pathlib import Path
from typing import Any

from dermray.vlm.nano import NanoConfig, build_processor

# As Qwen3.5's: the prompt opens the thought, so that an answer holds its end only; switched off, it holds a whole one.
QWEN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)
MARKS = ["<think>", "</think>"]  # ordinary added tokens, as Qwen's: they stay in vLLM's text
CHANNELS = ["<|channel>", "<channel|>"]  # special ones, as Gemma 4's: vLLM's text lacks them


def processor(template: str = QWEN) -> Any:
    """The nano captioner's, with marks of thoughts."""
    found = build_processor(NanoConfig())
    found.tokenizer.add_tokens(MARKS)
    found.tokenizer.add_tokens(CHANNELS, special_tokens=True)
    found.chat_template = template
    return found


def saved(directory: Path, template: str = QWEN) -> str:
    """The directory of a model without weights."""
    processor(template).save_pretrained(directory)
    (directory / "config.json").write_text('{"model_type": "llava", "text_config": {"model_type": "llama"}}')
    return str(directory)
