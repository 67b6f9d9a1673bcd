"""Conversations as a batch that a model's forward takes, with a loss on the answers alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dermray.config import ConfigError
from dermray.datasets.decode import BadImage, decode, size_of
from dermray.vlm.tuning.conversations import IGNORED, Conversation, Tokenised, Unusable
from dermray.vlm.tuning.templates import PROBE, ChatTemplate, Said

REMEMBERED = 100_000  # image sizes


class Collator:
    """Batches of a model's processor.

    Padding is at the right. An answer that ends beyond `max_length` tokens is cut there and has no end of turn: the
    model learns none of it where there is none. The image and the first question are never cut.

    Where a template ends a turn with no token of its own (LLaVA's), the label after the answer is the tokenizer's eos
    while the input stays what the template writes: the model learns to stop, and to read conversations as they are.

    Args:
        processor: of the model, with tokenizer, image processor and chat template.
        max_length: most tokens of a conversation, those of the image included; None for no limit.
        image_side: px; larger images are made smaller before the processor gets them; None leaves them.
        variables: of the chat template, as enable_thinking.

    Raises:
        ConfigError: the template has no place for an image, or no way to tell what the model says.
    """

    def __init__(
        self,
        processor: Any,
        max_length: int | None = None,
        image_side: int | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.processor, self.max_length, self.image_side = processor, max_length, image_side
        self.template = ChatTemplate(processor, variables)
        self.tokenizer = processor.tokenizer
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # masked wherever it pads
        self._growths = dict[tuple[int, int], int]()
        self._check_processor()
        if max_length is not None:
            self._check_room(max_length)

    def check_several_turns(self) -> None:
        """Whether conversations of more than one question can be learned from.

        Raises:
            ConfigError: the template writes earlier turns in another way than it prompts for them.
        """
        self.template.render(replace(PROBE, turns=PROBE.turns * 2))

    def lengths(self, conversation: Conversation) -> int:
        """Tokens of a conversation in a batch: the image's as the processor expands them, cut at max_length.

        Reads the image's header, not its pixels.

        Raises:
            Unusable: the image and the question leave no room for an answer, or words that the template reserves.
            BadImage: of no known kind.
        """
        (tokens,) = self._tokens([conversation])
        growth = self._growth(*size_of(conversation.image))
        return self._kept(tokens, growth)

    def measure(self, conversation: Conversation) -> tuple[int, int]:
        """`lengths`, and how many of these tokens have a label."""
        (tokens,) = self._tokens([conversation])
        growth = self._growth(*size_of(conversation.image))
        kept = self._kept(tokens, growth)
        return kept, sum(label != IGNORED for label in tokens.labels[: kept - growth])

    def prompt(self, conversation: Conversation) -> dict[str, Tensor]:
        """What `generate` takes for an answer to a conversation's first question: a batch of one."""
        return self._processed([self.template.prompt(conversation)], [self._shown(decode(conversation.image))])

    def problem(self, conversation: Conversation) -> str | None:
        """Why a conversation cannot be trained on, or None. Decodes the image."""
        try:
            (tokens,) = self._tokens([conversation])
            self._kept(tokens, self._growth(*decode(conversation.image).size))
        except (Unusable, BadImage) as error:
            return str(error)
        return None

    def __call__(self, conversations: list[Conversation]) -> dict[str, Tensor]:
        """What the model's forward takes; `labels` (B, L) are IGNORED everywhere but at the answers.

        Raises:
            Unusable, BadImage: a conversation that `problem` would have named.
        """
        prepared = self._tokens(conversations)
        images = [self._shown(decode(conversation.image)) for conversation in conversations]
        batch = self._processed([tokens.text for tokens in prepared], images)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = torch.full_like(ids, IGNORED)
        kept = [
            self._kept(tokens, self._label(tokens, ids[row], mask[row], labels[row]))
            for row, tokens in enumerate(prepared)
        ]
        return _cut({**batch, "labels": labels}, kept, self.tokenizer.pad_token_id)

    def _label(self, tokens: Tokenised, ids: Tensor, mask: Tensor, labels: Tensor) -> int:
        """Writes the labels of a row; returns by how many tokens it is longer than its text."""
        length = int(mask.sum())
        growth = length - len(tokens.ids)
        tail = tokens.first  # the image lies before: from here on text is the same, expanded or not
        if ids[tail + growth : length].tolist() != tokens.ids[tail:]:
            raise ConfigError(
                f"{self.template.name}: its processor writes an answer in other tokens than its tokenizer alone, so "
                "there is no telling which tokens are the answer's; expected the same; take another model"
            )
        labels[tail + growth : length] = torch.tensor(tokens.labels[tail:])
        return growth

    def _kept(self, tokens: Tokenised, growth: int) -> int:
        """Tokens that stay, all or up to the last within max_length that has a label."""
        length = len(tokens.ids) + growth
        if self.max_length is None or length <= self.max_length:
            return length
        room = self.max_length - growth  # for the text
        if tokens.first >= room:
            raise Unusable(
                f"image and question take {tokens.first + growth} tokens of max_length={self.max_length}: "
                "no room for an answer"
            )
        return growth + max(place for place in range(room) if tokens.labels[place] != IGNORED) + 1

    def tokenised(self, conversation: Conversation) -> Conversation:
        """The conversation with its tokens, so that no batch has to make them again.

        Raises:
            Unusable: it holds words that the template reserves.
        """
        return replace(conversation, tokenised=self._tokens([conversation])[0])

    def _tokens(self, conversations: list[Conversation]) -> list[Tokenised]:
        made = [conversation.tokenised for conversation in conversations if conversation.tokenised is not None]
        return made if len(made) == len(conversations) else self._tokenise(conversations)

    def _tokenise(self, conversations: list[Conversation]) -> list[Tokenised]:
        rendered = [self.template.render(conversation) for conversation in conversations]
        texts = [text for text, _ in rendered]
        special = self._adds_special(texts[0])
        encoded = self.tokenizer(texts, add_special_tokens=special, return_offsets_mapping=True)
        return [
            Tokenised(text, ids, self._labels(ids, places, said))
            for (text, said), ids, places in zip(rendered, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _labels(self, ids: list[int], places: list[tuple[int, int]], said: tuple[Said, ...]) -> list[int]:
        """Of the tokens `ids` of a text, which stand at `places` in it."""
        labels = [IGNORED] * len(ids)
        # some tokenizers leave white space out of the places: a line's end is (9, 9) there, not (8, 9)
        for first, end, stop in said:
            for number, (begins, ends) in enumerate(places):
                if ends > first and begins < (end if stop is None else stop):
                    labels[number] = ids[number]
            if stop is None:  # here the template goes on with the next turn
                after = next(number for number, (begins, _) in enumerate(places) if begins >= end)
                labels[after] = self.tokenizer.eos_token_id
        return labels

    def _adds_special(self, text: str) -> bool:
        """Whether the tokenizer puts its first token before the text: not where the template wrote it."""
        bos = self.tokenizer.bos_token
        return not (bos and text.startswith(bos))

    def _processed(self, texts: list[str], images: list[Image.Image]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = dict(
            self.processor(
                text=texts,
                images=[[image] for image in images],
                padding=True,
                padding_side="right",
                add_special_tokens=self._adds_special(texts[0]),
                return_tensors="pt",
            )
        )
        return batch

    def _shown(self, image: Image.Image) -> Image.Image:
        if self.image_side is not None:
            image.thumbnail((self.image_side, self.image_side))
        return image

    def _growth(self, width: int, height: int) -> int:
        """By how many tokens the processor's text is longer than the tokenizer's, which depends on the size alone.

        Raises:
            Unusable: a size that the processor does not take.
        """
        if (width, height) not in self._growths:
            if len(self._growths) >= REMEMBERED:
                self._growths.clear()
            blank = self._shown(Image.new("RGB", (width, height)))
            (tokens,) = self._tokens([PROBE])
            try:
                batch = self._processed([tokens.text], [blank])
            except ValueError as error:
                raise Unusable(f"{width} x {height} px: {error}") from None
            self._growths[width, height] = batch["input_ids"].shape[1] - len(tokens.ids)
        return self._growths[width, height]

    def _check_processor(self) -> None:
        """Whether the processor takes what the template writes, and leaves answers as they are."""
        (tokens,) = self._tokens([PROBE])
        try:
            batch = self._processed([tokens.text], [Image.new("RGB", (64, 64))])
        except ValueError as error:
            raise ConfigError(
                f"{self.template.name}: its processor does not take what its chat template writes for an image: {error}"
            ) from None
        ids, mask = batch["input_ids"][0], batch["attention_mask"][0]
        image = getattr(self.processor, "image_token_id", None)
        if image is not None and image not in ids.tolist():
            raise ConfigError(
                f"{self.template.name}: its chat template writes no {self.processor.image_token} for an image, which "
                "its processor expects; take the model's own chat_template.jinja"
            )
        self._label(tokens, ids, mask, torch.zeros_like(ids))

    def _check_room(self, max_length: int) -> None:
        """Whether a small image and the shortest question fit; one that is not square may have fewer tiles."""
        side = self.image_side or 64
        shapes = [(side, side), (side, side // 2), (side // 2, side)]
        (tokens,) = self._tokens([PROBE])
        needed = tokens.first + min(self._growth(max(width, 1), max(height, 1)) for width, height in shapes)
        if needed >= max_length:
            raise ConfigError(
                f"max_length={max_length}: expected more than {needed}, for an image of {side} px and a short question "
                f"of {self.template.name}; raise it, or lower image_side"
            )


def _cut(batch: dict[str, Tensor], kept: list[int], pad: int) -> dict[str, Tensor]:
    """Rows without their tokens beyond `kept`; tensors with a place a token are as long as the longest row."""
    shape, longest = batch["input_ids"].shape, max(kept)
    # (B, L); there is no label there: a row stays up to its last one within max_length, which no row exceeds
    beyond = torch.arange(shape[1]) >= torch.tensor(kept)[:, None]
    batch["input_ids"][beyond] = pad
    batch["attention_mask"][beyond] = 0
    return {name: value[:, :longest] if value.shape[:2] == shape else value for name, value in batch.items()}
