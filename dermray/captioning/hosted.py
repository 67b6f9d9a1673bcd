"""A model that vLLM shall host, checked before Ray or an engine starts: its numbers, its template, its thoughts."""

import json
import os
from pathlib import Path
from typing import Any

from dermray import weights
from dermray.captioning.settings import VllmConfig
from dermray.captioning.thinking import require_parser, require_variables, thought_is_over
from dermray.captioning.vllm_thinking import parser_of

QUESTION = "QUESTION-GOES-HERE"
# Of transformers' model_type. Their activations leave float16's range: the answers would be garbage. vLLM (0.29) knows
# the same list and refuses it too, but not before an engine starts. MedGemma is a gemma3.
NOT_IN_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")


def checked(model: str, config: VllmConfig) -> tuple[tuple[str, str], VllmConfig]:
    """What the chat template puts before and after the question, and the config without settings that mean nothing.

    Args:
        model: its small files, as `weights.locate_small` finds them.

    Raises:
        ValueError: the model cannot be hosted so; see `require_dtype`, `require_image_slot`, `prompt_format`,
            `thinking.require_parser`, `vllm_thinking.parser_of`.
    """
    require_dtype(model, config)
    require_image_slot(model, config)
    parts = prompt_format(model, config)
    if thought_is_over(parts[1]):  # it is switched off: a parser would take the answer for the thought
        return parts, config.model_copy(update={"reasoning_parser": None})
    require_parser(parts[1], config.reasoning_parser, model)
    if config.reasoning_parser is not None:
        parser_of(config, processor_of(model, config).tokenizer)
    return parts, config


def prompt_format(model: str, config: VllmConfig) -> tuple[str, str]:
    """What the model's chat template puts before and after the question.

    Raises:
        ValueError: the model has no chat template and config gives no prompt_format; or the template lacks a variable,
            or a place for the image or the question.
    """
    if config.prompt_format is not None:
        before, found, after = config.prompt_format.partition("{question}")
        if not found:
            raise ValueError(f"engine.prompt_format={config.prompt_format!r}: expected {{question}} in it")
        return before, after
    processor = processor_of(model, config)
    if processor.chat_template is None:
        raise ValueError(
            f"captioner={model}: has no chat template; give engine.prompt_format, "
            "for example '[INST] <image>\\n{question} [/INST]'"
        )
    require_variables(processor.chat_template, config.chat_template_kwargs, model)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text, bare = (_filled(processor, shown, config) for shown in (content, content[1:]))
    for what, lacks in (("an image", text == bare), ("a question", QUESTION not in text)):
        if lacks:
            raise ValueError(
                f"captioner={model}: its chat template has no place for {what}; take a vision-language model, or give "
                "engine.prompt_format, for example '[INST] <image>\\n{question} [/INST]'"
            )
    start = getattr(processor.tokenizer, "bos_token", None)
    if start and text.startswith(start) and _adds_start(processor.tokenizer):
        text = text.removeprefix(start)  # vLLM tokenises the prompt with special tokens: it would stand there twice
    before, _, after = text.partition(QUESTION)
    return before, after


def require_image_slot(model: str, config: VllmConfig) -> None:
    """Refuse a prompt format without a place for the image, where the model's own template shows how one is written:
    the engine would describe an image that it never saw, or fail at each row.

    Raises:
        ValueError: naming what the template writes for an image.
    """
    if config.prompt_format is None:
        return
    try:
        processor = processor_of(model, config)
    except (OSError, ValueError):  # transformers has none for it: what its prompts need, vLLM alone knows
        return
    if getattr(processor, "chat_template", None) is None:  # such as PaliGemma's, whose prompts have no such place
        return
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text, bare = (_filled(processor, shown, config) for shown in (content, content[1:]))
    before = os.path.commonprefix([text, bare])
    after = os.path.commonprefix([text[len(before) :][::-1], bare[len(before) :][::-1]])[::-1]
    written = text[len(before) : len(text) - len(after)].strip()
    slots = {written, getattr(processor, "image_token", None) or written} - {""}
    if slots and not any(slot in config.prompt_format for slot in slots):
        raise ValueError(
            f"engine.prompt_format={config.prompt_format!r}: no place for the image; captioner={model} expects "
            f"{written or ' or '.join(sorted(slots))!r} where it stands"
        )


def _filled(processor: Any, content: list[dict[str, str]], config: VllmConfig) -> str:
    """The prompt of one message of a user."""
    message = [{"role": "user", "content": content}]
    filled = processor.apply_chat_template(
        [message], add_generation_prompt=True, tokenize=False, **config.chat_template_kwargs
    )
    return str(filled[0])


def processor_of(model: str, config: VllmConfig) -> Any:
    """Its tokenizer and chat template."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(model, revision=config.revision, trust_remote_code=config.trust_remote_code)


def _adds_start(tokenizer: Any) -> bool:
    return bool(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)


def require_dtype(model: str, config: VllmConfig) -> None:
    """Refuse float16 for models that it breaks.

    Raises:
        ValueError: naming the model's type and what to give.
    """
    if config.dtype != "float16":
        return
    about = _about(model, config.revision)
    types = (about.get("model_type"), (about.get("text_config") or {}).get("model_type"))
    if broken := [name for name in NOT_IN_FLOAT16 if name in types]:
        raise ValueError(
            f"engine.dtype=float16: captioner={model} is a {broken[0]}, whose numbers float16 cannot hold (MedGemma's "
            "answers turn to garbage); give bfloat16, or float32"
        )


def _about(model: str, revision: str | None) -> dict[str, Any]:
    """The model's config.json; empty where there is none, which vLLM will say."""
    if weights.on_hub(model):
        from transformers import PretrainedConfig

        found, _ = PretrainedConfig.get_config_dict(model, revision=revision)
        return dict(found)
    path = Path(model) / "config.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}
