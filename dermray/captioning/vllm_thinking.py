"""Thoughts in answers of vLLM's engine: by its own parsers of reasoning where one is named, else by known marks."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dermray.captioning.settings import VllmConfig
from dermray.captioning.thinking import MARKS, parted


class Thoughts:
    """Parts answers from thoughts, for one engine.

    Raises:
        ValueError: see `parser_of`.
    """

    def __init__(self, tokenizer: Any, config: VllmConfig) -> None:
        self.tokenizer = tokenizer
        self.parser = parser_of(config, tokenizer) if config.reasoning_parser else None
        vocabulary = tokenizer.get_vocab()
        self.marks = {vocabulary[mark] for pair in MARKS for mark in pair if mark in vocabulary}

    def part(self, text: str, tokens: Sequence[int], ends: set[int]) -> tuple[str, bool]:
        """The answer, and whether the model was still thinking at its end.

        Args:
            text: as vLLM detokenised it, without special tokens. tokens: all that were generated. ends: end an answer.
        """
        if self.parser is None and not self.marks.intersection(tokens):
            return parted(text)
        # marks may be special tokens, which vLLM's text lacks: "thought" of Gemma 4 would run into its answer
        said = tokens[:-1] if len(tokens) and tokens[-1] in ends else tokens
        text = self.tokenizer.decode(list(said), skip_special_tokens=False)
        if self.parser is None:
            return parted(text)
        _, answer = self.parser.extract_reasoning(text, _request())
        answer, within = parted(answer or "")
        return answer.strip(), within or not answer


def parser_of(config: VllmConfig, tokenizer: Any) -> Any:
    """vLLM's parser of the name that a config gives, for a tokenizer.

    Raises:
        ValueError: vLLM has none of that name, or the tokenizer has not its marks, or it parts no answers.
    """
    from vllm.reasoning import ReasoningParserManager

    name = str(config.reasoning_parser)
    if name not in (known := ReasoningParserManager.list_registered()):
        raise ValueError(f"engine.reasoning_parser={name!r}: expected one of vLLM's: {', '.join(known)}")
    try:
        parser = ReasoningParserManager.get_reasoning_parser(name)(
            tokenizer, chat_template_kwargs=config.chat_template_kwargs
        )
        parser.extract_reasoning("a", _request())
        if (end := parser.reasoning_end_str) and end not in tokenizer.get_vocab():
            raise ValueError(f"it has no token {end}")
    except NotImplementedError:
        raise ValueError(
            f"engine.reasoning_parser={name!r}: vLLM parts its answers only in its server; host the model by "
            "`vllm serve` and give remote"
        ) from None
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"engine.reasoning_parser={name!r}: not for this captioner's tokenizer: {error}") from None
    return parser


def _request() -> Any:
    """As vLLM's server has it: parsers look into it for tools."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    return ChatCompletionRequest(messages=[], model="")


def let_think(engine: Any, config: VllmConfig) -> None:
    """Tell the engine's own parser, which holds guided decoding back until a thought ends, of the template's variables.

    vLLM (0.29) makes that parser anew for each request, from what `generate` is given; ray.data.llm gives nothing.
    """
    if config.reasoning_parser and config.chat_template_kwargs:
        told: Mapping[str, Any] = {"chat_template_kwargs": config.chat_template_kwargs}
        engine.generate = partial(engine.generate, reasoning_parser_kwargs=told)
