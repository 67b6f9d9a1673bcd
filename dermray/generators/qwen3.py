"""Qwen3 as a text encoder: a prompt is the user's turn of its chat."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import transformers

from dermray.generators import frozen, nano
from dermray.generators.coverage import Reader, TokenReader
from dermray.generators.flow_lora import FlowLora

CHAT = "{{ messages[0]['content'] }}"  # the nano tokenizer's template: the prompt alone
END = 0  # id of padding


class ReadByQwen3(FlowLora):
    """Families whose text encoder it is. Of `max_sequence_length` tokens the chat around a prompt takes some."""

    thinking: ClassVar[bool]  # whether the template leaves room for it

    @classmethod
    def reads(cls, config: Any) -> dict[str, tuple[str, int]]:
        """One tokenizer."""
        return {"tokenizer": ("qwen3", config.max_sequence_length)}

    @classmethod
    def readers(cls, config: Any, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """What is left for the prompt."""
        base, length = frozen.saved_base(config.base, saved), config.max_sequence_length
        read = frozen.tokenizer(base, config.revision, "tokenizer", captions, length)
        around = len(read(cls.as_chat(read, "")).input_ids) - len(read("").input_ids) if read.chat_template else 0
        return [TokenReader("qwen3", read, length - around)]

    @classmethod
    def stand_ins(cls, config: Any, captions: list[str]) -> dict[str, Any]:
        """With a template."""
        return {"tokenizer": tokenizer(captions, config.max_sequence_length)}

    @classmethod
    def as_chat(cls, tokenizer: Any, prompt: str) -> str:
        """What the tokenizer is given of a prompt."""
        chat: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True,
            enable_thinking=cls.thinking,
        )  # fmt: skip
        return chat


def tokenizer(captions: list[str], length: int) -> transformers.PreTrainedTokenizerFast:
    """The words of `captions`."""
    made = nano.tokenizer(captions, length)
    made.chat_template = CHAT
    return made


def small(vocabulary: int, layers: int) -> transformers.Qwen3Config:
    """Of a nano encoder."""
    return transformers.Qwen3Config(
        vocab_size=vocabulary, hidden_size=nano.WIDTH // 2, intermediate_size=32, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024, pad_token_id=END,
    )  # fmt: skip
