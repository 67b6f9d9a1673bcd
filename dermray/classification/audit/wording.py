"""Prompts that differ in one attribute and in no other word."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dermray.records import SKIN_TONES

# The n-th word of one sex takes the place of the n-th of the other.
SEXES = {"female": ("female", "woman"), "male": ("male", "man")}
KNOWN = {"skin_tone": SKIN_TONES, "sex": tuple(SEXES), "site": ()}  # their values; sites are any words


@dataclass(frozen=True)
class Attribute:
    """What is changed in a prompt, and the values between which it changes."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, values: Iterable[str]) -> "Attribute":
        """A checked one.

        Raises:
            ValueError: an attribute or value that nobody knows, fewer than two values, or one of them twice.
        """
        values = tuple(values)
        if name not in KNOWN:
            raise ValueError(f"attributes.{name}: expected one of {', '.join(KNOWN)}")
        if KNOWN[name] and (unknown := sorted(set(values) - set(KNOWN[name]))):
            raise ValueError(f"attributes.{name}: {', '.join(unknown)}: expected some of {', '.join(KNOWN[name])}")
        if len({value.lower() for value in values}) < max(2, len(values)):
            raise ValueError(f"attributes.{name}={list(values)}: expected at least two values, each once")
        return cls(name, values)

    @property
    def title(self) -> str:
        """In words."""
        return self.name.replace("_", " ")

    def phrases(self, value: str) -> tuple[str, ...]:
        """How prompts say this value."""
        if self.name == "skin_tone":
            return (f"skin tone {value}",)
        return SEXES[value] if self.name == "sex" else (value,)

    @cached_property
    def _meaning(self) -> dict[str, tuple[str, int]]:
        """Of a phrase in small letters: its value and its number among that value's phrases."""
        return {
            phrase.lower(): (value, number)
            for value in self.values
            for number, phrase in enumerate(self.phrases(value))
        }

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Any of the phrases as whole words; the longest first, because "upper arm" is no "arm"."""
        longest_first = sorted(self._meaning, key=len, reverse=True)
        words = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in longest_first)
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def value_in(self, prompt: str) -> str | None:
        """The value that a prompt names; None where it names none, or several."""
        named = {self._read(match)[0] for match in self._pattern.finditer(prompt)}
        return named.pop() if len(named) == 1 else None

    def up_to_first(self, prompt: str) -> str:
        """The prompt as far as a reader must get to see the attribute, which it names."""
        match = self._pattern.search(prompt)
        assert match is not None
        return prompt[: match.end()]

    def changed(self, prompt: str, value: str) -> str:
        """The prompt with this value, wherever it names another."""

        def other(match: re.Match[str]) -> str:
            phrase = self.phrases(value)[self._read(match)[1]]
            return phrase[0].upper() + phrase[1:] if match[0][0].isupper() else phrase

        return self._pattern.sub(other, prompt)

    def _read(self, match: re.Match[str]) -> tuple[str, int]:
        return self._meaning[" ".join(match[0].lower().split())]
