"""What a model thinks before it answers, parted from the answer: no word of it may become a caption.

A model writes its thoughts between two marks. Which, and whether the first one stands in the answer or in the prompt
already, is a matter of its chat template. Marks that are known are found here, in text; a parser of vLLM's, where one
is named, knows more (`vllm_thinking`).
"""

import re
from collections.abc import Mapping
from typing import Any

CUT_IN_THOUGHT = "thinking"  # as finish_reason: tokens ended before the answer began
MARKS = (  # of the first and the last token of a thought
    ("<think>", "</think>"),  # Qwen, DeepSeek, GLM, MiniMax
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),  # ByteDance Seed
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<|channel>", "<channel|>"),  # Gemma 4
    ("<unused94>", "<unused95>"),  # MedGemma, of Gemma 3's unused tokens
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss (harmony)
)
_WHOLE = re.compile("|".join(f"{re.escape(start)}.*?{re.escape(end)}" for start, end in MARKS), re.DOTALL)
_START = re.compile("|".join(re.escape(start) for start, _ in MARKS))
_END = re.compile("|".join(re.escape(end) for _, end in MARKS))


def parted(text: str) -> tuple[str, bool]:
    """The answer in a text, without what was thought, and whether the text ends within a thought.

    Where only the last mark of a thought stands, the first one stood in the prompt: all before it was thought.
    """
    if not _START.search(text) and not _END.search(text):
        return text, False
    text = _WHOLE.sub("", text)
    ends = list(_END.finditer(text))
    text = text[ends[-1].end() :] if ends else text
    start = _START.search(text)
    return (text[: start.start()] if start else text).strip(), start is not None


def settled(answer: str, within: bool, finish_reason: str | None) -> tuple[str, str | None]:
    """The answer, and why it ended: an answer that was cut within a thought is none.

    Args:
        within: whether the model was still thinking at the end.
    """
    if within and finish_reason == "length":
        return answer, CUT_IN_THOUGHT
    return answer, finish_reason


def require_variables(template: str | Mapping[str, str], given: Mapping[str, Any], model: str) -> None:
    """Refuse variables that a chat template does not have: it would pass over a misspelt one in silence.

    Raises:
        ValueError: naming them.
    """
    text = template if isinstance(template, str) else "\n".join(template.values())
    if unknown := [name for name in given if not re.search(rf"\b{re.escape(name)}\b", text)]:
        raise ValueError(
            f"engine.chat_template_kwargs={unknown}: the chat template of captioner={model} has no such variables; "
            "leave them out, or look into its chat_template.jinja for their names"
        )


def thought_is_over(after: str) -> bool:
    """Whether a prompt holds a whole thought behind the question, as where templates switch thinking off."""
    return _WHOLE.search(after) is not None and not parted(after)[1]


def require_parser(after: str, parser: str | None, model: str) -> None:
    """Refuse a prompt that leaves the model thinking where nothing says how its thoughts end.

    Guided decoding would force JSON into the middle of a thought: only with a named parser vLLM waits for its end.

    Args:
        after: what the template puts behind the question.

    Raises:
        ValueError: saying what to give.
    """
    if parser is None and parted(after)[1]:
        raise ValueError(
            f"captioner={model}: its chat template lets it think before it answers (the prompt ends in "
            f"{after.strip()[-20:]!r}); give engine.chat_template_kwargs: {{enable_thinking: false}} (its template's "
            "own variable), or, to let it think, engine.reasoning_parser, such as qwen3, and more sampling.max_tokens"
        )
