"""A model's own chat template: a conversation as text, and which of its characters the model has to say.

What has to be said is what `generate` would have to write after the template's generation prompt: the answer, and the
token that ends the turn. It is found by rendering, or by the template's own {% generation %} marks, never by knowing a
family.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dermray.config import ConfigError
from dermray.vlm.tuning.conversations import Conversation, Unusable

# A thought before an answer is not what these models learn. The date is that of Llama 3.2's template where there is no
# clock: with today's the same conversation would be another text tomorrow, and a resumed training another training.
DEFAULTS = {"enable_thinking": False, "date_string": "26 Jul 2024"}
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # as transformers looks for it
PROBE = Conversation("probe", b"", (("?", "Answer."),))


class Said(NamedTuple):
    """Characters of a rendered conversation that one turn of the model consists of.

    `first` to `end` is the answer with the space before it, to `stop` with the token that ends the turn; without such
    a token in the template, `stop` is None.
    """

    first: int
    end: int
    stop: int | None


class Rendered(NamedTuple):
    """A conversation in the words of a template."""

    text: str
    said: tuple[Said, ...]  # one a turn


class ChatTemplate:
    """The template of a processor.

    Args:
        variables: what else the template shall know, as enable_thinking.

    Raises:
        ConfigError: no template, or one that has no place for an image, changes what it is given or does not read a
            variable.
    """

    def __init__(self, processor: Any, variables: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.name = str(getattr(self.tokenizer, "name_or_path", "") or type(processor).__name__)
        if not hasattr(processor, "image_processor"):
            raise ConfigError(f"{self.name}: takes text alone; expected the processor of a vision-language model")
        self.source = self._source(processor)
        given = {**DEFAULTS, **(variables or {})}
        read = {key: value for key, value in given.items() if re.search(rf"\b{re.escape(key)}\b", self.source)}
        if unread := sorted(set(variables or {}) - set(read)):  # it would pass over a misspelt one in silence
            raise ConfigError(
                f"template={unread}: the chat template of {self.name} has no such variables; leave them out, or look "
                "into its chat_template.jinja for their names"
            )
        self.variables = {**self.tokenizer.special_tokens_map, **read}
        self.marks = bool(GENERATION.search(self.source))
        self.special = _special_tokens(self.tokenizer)
        self.reserved = _reserved(processor, self.source, self.special)
        self._special = re.compile("|".join(map(re.escape, sorted(self.special, key=len, reverse=True))) or r"(?!)")
        self._reserved = re.compile("|".join(map(re.escape, sorted(self.reserved, key=len, reverse=True))) or r"(?!)")
        self._check()

    def render(self, conversation: Conversation) -> Rendered:
        """The whole conversation, and what the model says in it.

        Raises:
            Unusable: empty, or with words in it that only the template may write.
            ConfigError: the template does not leave the answers as they are.
        """
        self._refuse_words(conversation)
        messages = messages_of(conversation)
        text, marks = self._render(messages)
        said = [
            self._said(messages, 2 * turn + 1, text, marks[turn] if self.marks and turn < len(marks) else None)
            for turn in range(len(conversation.turns))
        ]
        if said[-1].stop is None:  # the last words get the end that the template leaves out
            text = text[: said[-1].end] + self.tokenizer.eos_token
            said[-1] = said[-1]._replace(stop=len(text))
        return Rendered(text, tuple(said))

    def prompt(self, conversation: Conversation) -> str:
        """A conversation's first question, up to where the model has to answer."""
        return self._render(messages_of(conversation)[:1], add_generation_prompt=True)[0]

    def _said(self, messages: list[dict[str, Any]], turn: int, text: str, mark: tuple[int, int] | None) -> Said:
        """Of the answer messages[turn] in `text`, the rendering of all messages."""
        prompt, _ = self._render(messages[:turn], add_generation_prompt=True)
        answer = messages[turn]["content"][0]["text"]
        if text.startswith(prompt):
            first = len(prompt)
        elif mark is not None:
            first = mark[0]
        else:
            raise ConfigError(self._thinks(messages))
        begins = first + len(text[first:]) - len(text[first:].lstrip())
        if mark is not None and text[first : mark[0]].strip():
            raise ConfigError(self._thinks(messages))
        if not text.startswith(answer, begins):
            found = text[first : begins + len(answer)]
            raise ConfigError(
                f"{self.name}: its chat template writes {found[-200:]!r} where the answer is {answer[:100]!r}; "
                "expected it unchanged after the generation prompt. If it opens a thought there, set "
                "enable_thinking: false for the template, or take the model's instruct version"
            )
        end = begins + len(answer)
        return Said(first, end, self._stop(messages[: turn + 1], text, end, last=turn + 1 == len(messages)))

    def _stop(self, messages: list[dict[str, Any]], text: str, end: int, last: bool) -> int | None:
        """Where the token ends that ends the turn, whose answer, the last of `messages`, ends at `end`."""
        found = self._special.match(text, end + len(text[end:]) - len(text[end:].lstrip()))
        if found is None:
            return None
        if not last:
            alone, _ = self._render(messages)
            if text.startswith(alone) and found.end() > len(alone):
                return None  # it opens the next turn
        return found.end()

    def _thinks(self, messages: list[dict[str, Any]]) -> str:
        if len(messages) > 2:
            return (
                f"{self.name}: its chat template writes earlier turns in another way than it prompts for them (models "
                "that think do so); expected one question for each conversation: set turns: separate"
            )
        return (
            f"{self.name}: its chat template's generation prompt is not how an answered conversation begins; "
            "set enable_thinking: false for the template, or take the model's instruct version"
        )

    def _refuse_words(self, conversation: Conversation) -> None:
        if not conversation.turns:
            raise Unusable("no question and answer")
        for question, answer in conversation.turns:
            for name, words in (("question", question), ("answer", answer)):
                if not words.strip():
                    raise Unusable(f"empty {name}")
                found = self._reserved.search(words)
                if found:
                    raise Unusable(f"{name} holds {found[0]}, which only the model's chat template may write")

    def _render(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool = False
    ) -> tuple[str, Sequence[tuple[int, int]]]:
        """As `processor.apply_chat_template` renders it, and the {% generation %} marks."""
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, marks = render_jinja_template(
            conversations=[messages],
            chat_template=self.source,
            return_assistant_tokens_mask=self.marks,
            add_generation_prompt=add_generation_prompt,
            **self.variables,
        )
        return texts[0], marks[0] if self.marks else ()

    def _source(self, processor: Any) -> str:
        source = getattr(processor, "chat_template", None)
        if isinstance(source, dict):  # several by name
            source = source.get("default")
        if not source:
            raise ConfigError(
                f"{self.name}: no chat template; expected chat_template.jinja among the processor's files: take the "
                "model's instruct version, or put the template there"
            )
        return str(source)

    def _check(self) -> None:
        """By a small conversation, before any row is read."""
        messages = messages_of(PROBE)
        without = [{**message, "content": [message["content"][-1]]} for message in messages]
        try:
            with_image, bare = self._render(messages)[0], self._render(without)[0]
        except Exception as error:  # a template is a program: it raises anything
            raise ConfigError(f"{self.name}: its chat template cannot write an image and a question: {error}") from None
        if not set(self._special.findall(with_image)) - set(self._special.findall(bare)):
            raise ConfigError(
                f"{self.name}: its chat template has no place for an image; expected a token of the processor where "
                "the message holds one: take a vision-language model, or its own chat_template.jinja"
            )
        if self.tokenizer.eos_token is None:
            raise ConfigError(f"{self.name}: its tokenizer has no eos_token; expected one, which ends an answer")
        self.render(PROBE)


def messages_of(conversation: Conversation) -> list[dict[str, Any]]:
    """As chat templates take it, the image first; without the white space around questions and answers, for many
    templates take that away."""
    messages = list[dict[str, Any]]()
    for number, (question, answer) in enumerate(conversation.turns):
        image = [{"type": "image"}] if number == 0 else []
        asked = [*image, {"type": "text", "text": question.strip()}]
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer.strip()}]})
    return messages


def _special_tokens(tokenizer: Any) -> set[str]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def _reserved(processor: Any, source: str, special: set[str]) -> set[str]:
    """Words that no question or answer may hold: special tokens, those that stand for an image, and ordinary added
    tokens that the template writes, as <think>. Other added tokens, as Gemma's runs of line ends, are text."""
    images = {value for key, value in vars(processor).items() if key.endswith("_token") and isinstance(value, str)}
    added = {token.content for token in processor.tokenizer.added_tokens_decoder.values()}
    return {token for token in special | images | {one for one in added if one in source} if token.strip()}
