"""Tiny models of each family: random weights, a processor, the structure of the family's published chat template.

The templates are reduced to what one image, several turns and an optional system message need (no tools, no video).
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

WIDTH = 32
WORDS = [
    "What does this image show? Describe the lesion. Is the border irregular? How symmetric is it, and why?",
    "asymmetric lesion, irregular border, red and light brown, skin tone A. symmetric lesion, smooth border, black.",
    "user assistant model system User Assistant USER ASSISTANT yes no the skin around it is even",
]

# llava-hf/llava-1.5-7b-hf, chat_template.json: roles in capitals, images first, no token that ends a turn.
LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if message['role'] != 'assistant' %}{{ content['text'] + ' ' }}"
    "{% else %}{% generation %}{{ content['text'] + ' ' }}{% endgeneration %}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# Qwen/Qwen3-VL-4B-Instruct, chat_template.json: ChatML.
QWEN = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for content in message.content %}"
    "{% if content.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content.text }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# google/gemma-3-4b-it, chat_template.json: the system's words go into the first user turn, texts are trimmed.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'][0]['text'] + '\n\n' %}{% set loop_messages = messages[1:] %}{% else %}"
    "{% set first = '' %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# meta-llama/Llama-3.2-11B-Vision-Instruct, chat_template.json: a dated system turn where there is no image.
MLLAMA = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- endif %}{%- set ns = namespace(images=false) %}{%- for message in messages %}"
    "{%- for content in message['content'] %}{%- if content['type'] == 'image' %}{%- set ns.images = true %}"
    "{%- endif %}{%- endfor %}{%- endfor %}{%- if not ns.images %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}"
    "{{- 'Today Date: ' + date_string + '\n\n<|eot_id|>' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}{%- else %}"
    "{%- for content in message['content'] %}{%- if content['type'] == 'image' %}{{- '<|image|>' }}"
    "{%- elif content['type'] == 'text' %}{{- content['text'] }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
# HuggingFaceTB/SmolVLM2-2.2B-Instruct, chat_template.json: no space between the role's colon and an image.
SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def tiny(name: str, directory: Path) -> Path:
    """A model of family `name`, saved with its processor as `transformers` reads them; the same weights every time."""
    torch.manual_seed(0)
    processor, config = FAMILIES[name]()
    model = _class_of(config)(config)
    # a fresh generation config has no ids of this tokenizer
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def build_tokenizer(
    special: list[str], named: dict[str, str], bos_first: bool = False, trimmed: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 400 pieces; `named` are the tokens' roles, as pad_token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    if bos_first:  # as the tokenizers of Llama and Gemma do
        bos = named["bos_token"]
        first = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        # offsets without white space, as Llama 3's tokenizer gives them
        tokenizer.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=True), first] if trimmed else [first]
        )
    named_by_all = {key: named[key] for key in named if key in ("pad_token", "bos_token", "eos_token")}
    extra = {key: token for key, token in named.items() if key not in named_by_all}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **named_by_all, extra_special_tokens=extra, padding_side="left"
    )


def _class_of(config: Any) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText._model_mapping[type(config)]


def _text(tokenizer: PreTrainedTokenizerFast, **others: Any) -> dict[str, Any]:
    """Sizes of a language model as all the families name them."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": WIDTH // 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        **others,
    }


def _vision(**others: Any) -> dict[str, Any]:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {**sizes, **others}


def _llava() -> tuple[Any, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "image_token": "<image>"}
    tokenizer = build_tokenizer(list(named.values()), named, bos_first=True)
    side = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA,
    )
    vision = CLIPVisionConfig(**_vision(image_size=32, patch_size=8, projection_dim=WIDTH))
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    return processor, config


def _qwen() -> tuple[Any, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    vision_tokens = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *vision_tokens]
    tokenizer = build_tokenizer(special, {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"})
    pixels = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}  # areas in px
    images = Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, temporal_patch_size=2, size=pixels)
    videos = Qwen3VLVideoProcessor(patch_size=8, merge_size=2, temporal_patch_size=2)
    processor = Qwen3VLProcessor(images, tokenizer, videos, chat_template=QWEN)
    start, end, image, video = tokenizer.convert_tokens_to_ids(vision_tokens)
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_heads": 2, "patch_size": 8}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        vision_config={
            **vision,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        text_config=_text(tokenizer, rope_parameters=rope),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
    return processor, config


def _gemma() -> tuple[Any, Any]:
    from transformers import Gemma3Config, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    named = {
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    special = [*named.values(), "<start_of_turn>", "<end_of_turn>"]
    tokenizer = build_tokenizer(special, named, bos_first=True)
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    processor = Gemma3Processor(images, tokenizer, chat_template=GEMMA, image_seq_length=4)
    boi, eoi, image = (tokenizer.convert_tokens_to_ids(named[key]) for key in ("boi_token", "eoi_token", "image_token"))
    config = Gemma3Config(
        vision_config=_vision(model_type="siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False),
        text_config=_text(
            tokenizer,
            query_pre_attn_scalar=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=4,
        boi_token_index=boi,
        eoi_token_index=eoi,
        image_token_index=image,
        tie_word_embeddings=False,
    )
    return processor, config


def _mllama() -> tuple[Any, Any]:
    from transformers import MllamaConfig, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}
    others = ["<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|image|>"]
    tokenizer = build_tokenizer([*named.values(), *others], named, bos_first=True, trimmed=True)
    images = MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4)
    processor = MllamaProcessor(images, tokenizer, chat_template=MLLAMA)
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    text = _text(tokenizer, num_hidden_layers=2, cross_attention_layers=[1], rope_parameters=rope)
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    config = MllamaConfig(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "vision_output_dim": 2 * WIDTH,
            "image_size": 32,
            "patch_size": 8,
            "intermediate_layers_indices": [0],
        },
        text_config=text,
        image_token_index=image,
        tie_word_embeddings=False,
    )
    return processor, config


def _smolvlm() -> tuple[Any, Any]:
    from transformers import SmolVLMConfig, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    named = {"pad_token": "<|im_end|>", "bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>"}
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    others = ["<fake_token_around_image>", "<image>", "<global-img>", "<video>", *tiles]
    tokenizer = build_tokenizer([*named.values(), *others], named)
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = SmolVLMProcessor(images, tokenizer, SmolVLMVideoProcessor(), image_seq_len=4, chat_template=SMOLVLM)
    config = SmolVLMConfig(
        vision_config=_vision(image_size=32, patch_size=8),
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        tie_word_embeddings=False,
    )
    return processor, config


FAMILIES = {"llava": _llava, "qwen3_vl": _qwen, "gemma3": _gemma, "mllama": _mllama, "smolvlm": _smolvlm}
