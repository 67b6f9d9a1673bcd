"""A LLaVA of about half a million parameters (CLIP vision, Llama, own tokenizer) that two CPU cores can train.

It reads phantoms. It does not follow instructions and knows nothing of photographs.
"""

import itertools
import json
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dermray.captioning.answers import Attributes, phrase
from dermray.captioning.prompts.abc import PROMPT_SET
from dermray.config import Config, ConfigError
from dermray.records import COLOURS, SKIN_TONES

CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<image>"]


class NanoConfig(Config):
    """Sizes of the nano captioner. The head size is 32: vLLM loads 24 and fails at the first request."""

    image_size: int = Field(64, ge=32)
    patch_size: int = Field(8, ge=4)
    hidden_size: int = Field(96, ge=32, multiple_of=32)
    vision_layers: int = Field(3, ge=1)
    language_layers: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.image_size % self.patch_size:
            raise ConfigError(f"image_size={self.image_size}: expected a multiple of patch_size={self.patch_size}")
        return self


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on every sentence that the captioner has to say."""
    colours = [c for n in range(1, 5) for c in itertools.combinations(COLOURS, n)]
    flags = (False, True)
    sentences = [phrase(Attributes(a, b, c, t)) for a in flags for b in flags for c in colours for t in SKIN_TONES]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=448, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([PROMPT_SET.template, *sentences], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="right"
    )


def build_processor(config: NanoConfig) -> LlavaProcessor:
    """Tokenizer and image processor in one, with the chat template that vLLM's chat calls use."""
    side = {"height": config.image_size, "width": config.image_size}
    images = CLIPImageProcessorPil(
        size=side, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token="<image>",
    )


def build_model(config: NanoConfig, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """Random weights."""
    width = config.hidden_size
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=width // 32,
        image_size=config.image_size,
        patch_size=config.patch_size,
        projection_dim=width,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=config.language_layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=2048,  # its rotary embedding does not depend on it: questions may be long
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    llava = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(llava)


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, directory: Path) -> None:
    """Write `directory` for transformers and `directory/vllm` for vLLM, which wants other vision weight names."""
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    for_vllm = directory / "vllm"
    model.config.save_pretrained(for_vllm)
    model.generation_config.save_pretrained(for_vllm)
    processor.save_pretrained(for_vllm)
    weights = load_file(directory / "model.safetensors")
    save_file(
        {vllm_name(name): tensor for name, tensor in weights.items()}, for_vllm / "model.safetensors", {"format": "pt"}
    )


def vllm_name(name: str) -> str:
    """transformers 5 writes `vision_tower.*`; vLLM 0.29 reads `vision_tower.vision_model.*`."""
    head, middle, rest = name.partition("vision_tower.")
    return f"{head}{middle}vision_model.{rest}" if middle and not rest.startswith("vision_model.") else name


def load(directory: Path) -> tuple[LlavaForConditionalGeneration, Any]:
    """Model and processor as transformers reads them.

    Raises:
        ValueError: the directory holds no LLaVA.
    """
    config = directory / "config.json"
    if not config.is_file() or json.loads(config.read_text()).get("model_type") != "llava":
        raise ValueError(f"{directory}: expected a LLaVA saved by transformers (config.json with model_type llava)")
    return LlavaForConditionalGeneration.from_pretrained(directory), LlavaProcessor.from_pretrained(directory)


def prompt_tokens(processor: LlavaProcessor, config: NanoConfig) -> list[int]:
    """Token ids before the answer: start, one <image> per patch, the instruction."""
    patches = (config.image_size // config.patch_size) ** 2
    tokenizer = processor.tokenizer
    image = tokenizer.convert_tokens_to_ids("<image>")
    return [image] * patches + tokenizer(PROMPT_SET.template, add_special_tokens=False)["input_ids"]


def greedy(model: LlavaForConditionalGeneration, processor: LlavaProcessor, images: list[Any]) -> list[str]:
    """transformers' own greedy answers, which vLLM's must equal."""
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT_SET.template}]}]
    text = processor.apply_chat_template(message)
    batch = processor(images=images, text=[text] * len(images), return_tensors="pt", padding=True)
    with torch.inference_mode():
        tokens = model.generate(**batch, do_sample=False, max_new_tokens=48)
    answers = tokens[:, batch["input_ids"].shape[1] :]
    return [str(line) for line in processor.batch_decode(answers, skip_special_tokens=True)]
