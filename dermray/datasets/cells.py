"""Cells of tables as people write them: what means "nothing", and what a number, a word or an id is.

One rule for every source and column. A cell that makes no sense is null, never a guess, and leaves an issue with its
file, line, column and value; what becomes of such rows is the source's `bad_cells`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from dermray.records import AT, SKIN_TONES

T = TypeVar("T")
# What spreadsheets, databases, pandas, R, SAS and people write where they know nothing.
MISSING = frozenset(
    {"", "-", "--", "---", ".", "?", "??", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nil", "none", "null"}
    | {"\\n", "unk", "unknown", "undefined", "unspecified", "not specified", "not available", "not known", "missing"}
)
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))  # hyphens, dashes, minus
AGES = (0, 120)  # years; the oldest person whose age is documented reached 122
WIDEST_RANGE = 10  # years: the midpoint of a wider range says little of a person's age
_NUMBER = r"(\d+(?:\.\d+)?|\d+,\d{1,2})"  # a comma before three digits may part thousands: no number we know
_AGE = re.compile(rf"(?:>=|≥)?\s*{_NUMBER}\s*(?:\+|years?|yrs?|yo|y)?(?:\s*old)?")
_AGE_RANGE = re.compile(rf"{_NUMBER}\s*(?:-|to)\s*{_NUMBER}\s*(?:years?|yrs?|y)?")
_FITZPATRICK = re.compile(r"(?:fitzpatrick|fst|fp|skin)?\s*(?:skin)?\s*(?:photo)?(?:type)?\s*([1-6])(?:\.0+)?")
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}

TRUTH = {
    **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y", "malignant"), True),
    **dict.fromkeys(("0", "0.0", "false", "f", "no", "n", "benign"), False),
}
SEX: dict[str, str | None] = {
    **dict.fromkeys(("female", "f", "woman"), "female"),
    **dict.fromkeys(("male", "m", "man"), "male"),
}
SKIN_TONE = {
    **{tone.lower(): tone for tone in SKIN_TONES},
    **dict(zip(("12", "34", "56"), SKIN_TONES, strict=True)),  # as DDI writes Fitzpatrick I-II, III-IV, V-VI
    **dict(zip(("i-ii", "iii-iv", "v-vi"), SKIN_TONES, strict=True)),
    **dict(zip(("1-2", "3-4", "5-6"), SKIN_TONES, strict=True)),
}
MODALITY: dict[str, str | None] = {
    **dict.fromkeys(("dermoscopic", "dermoscopy", "dermatoscopic", "dermatoscopy"), "dermoscopic"),
    **dict.fromkeys(("clinical", "macroscopic", "overview", "clinical: close-up", "clinical: overview"), "clinical"),
}
SPLIT = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class BadCell(ValueError):
    """A cell that is not what its column holds; the message says what was expected."""


@lru_cache(1 << 16)  # the cells of a table repeat
def plain(text: str) -> str:
    """Text as it is compared: Unicode's compatible form, lower case, plain dashes, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_DASHES).casefold().split())


def is_missing(text: str | None, more: Iterable[str] = ()) -> bool:
    """Whether a cell says nothing; `more` are further words for that."""
    return text is None or (word := plain(text)) in MISSING or any(word == plain(other) for other in more)


def age(text: str) -> float:
    """Years. '85+' is 85, '45,5' is 45.5, '040' is 40, '40-45' its midpoint 42.5.

    Raises:
        BadCell: no such number, outside AGES, or a range of more than WIDEST_RANGE years.
    """
    word = plain(text)
    if match := _AGE.fullmatch(word):
        low = high = _float(match[1])
    elif match := _AGE_RANGE.fullmatch(word):
        low, high = _float(match[1]), _float(match[2])
    else:
        low = high = -1.0
    if not (AGES[0] <= low <= high <= AGES[1] and high - low <= WIDEST_RANGE):
        raise BadCell(f"expected years from {AGES[0]} to {AGES[1]}, or a range of at most {WIDEST_RANGE} of them")
    return (low + high) / 2


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def fitzpatrick(text: str) -> int:
    """Fitzpatrick's type, 1 to 6, in Arabic or Roman figures.

    Raises:
        BadCell: anything else; 2.5 lies between two types.
    """
    words = plain(text).split()
    words[-1:] = [_ROMAN.get(word, word) for word in words[-1:]]
    match = _FITZPATRICK.fullmatch(" ".join(words))
    if match is None:
        raise BadCell("expected a Fitzpatrick type, 1 to 6 or I to VI")
    return int(match[1])


# How the cells of our columns are read. A mapping holds the words known; None says that a word means "unknown".
READERS: dict[str, Callable[[str], object] | Mapping[str, object]] = {
    "age": age,
    "fitzpatrick": fitzpatrick,
    "sex": SEX,
    "malignant": TRUTH,
    "skin_tone": SKIN_TONE,
    "modality": MODALITY,
    "split": SPLIT,
    "site": plain,
}


def parse(text: str, reader: Callable[[str], T] | Mapping[str, T]) -> T:
    """A cell by its column's reader: a function, or the words that it may hold.

    Raises:
        BadCell: what it says makes no sense.
    """
    if not isinstance(reader, Mapping):
        return reader(text)
    if (word := plain(text)) not in reader:
        known = ", ".join(reader) if len(reader) <= 16 else f"one of the {len(reader)} words that its rules know"
        raise BadCell(f"expected {known}")
    return reader[word]


class Cells:
    """The cells of one row by column. What they do not say is None; what makes no sense is None and an issue."""

    def __init__(self, values: Mapping[str, str | None], place: str = "", missing: Iterable[str] = ()) -> None:
        self.values, self.place, self.missing = dict(values), place, tuple(missing)
        self.issues: list[str] = []

    def text(self, column: str, missing: Iterable[str] = ()) -> str | None:
        """The cell without space around it, None where it says nothing or the table has no such column."""
        value = self.values.get(column)
        return None if value is None or is_missing(value, (*self.missing, *missing)) else value.strip()

    def read(self, column: str, reader: Callable[[str], T] | Mapping[str, T], missing: Iterable[str] = ()) -> T | None:
        """The cell's meaning by `parse`."""
        text = self.text(column, missing)
        try:
            return None if text is None else parse(text, reader)
        except BadCell as error:
            self.doubt(column, str(error))
            return None

    def identity(self, column: str, source: str) -> str | None:
        """An id within its source, None for nobody's. One name has several spellings in Unicode, which are one here."""
        text = self.text(column)
        return None if text is None else f"{source}/{unicodedata.normalize('NFC', text)}"

    def one_hot(self, columns: Iterable[str]) -> str | None:
        """The column that holds a 1 while the others hold 0."""
        chosen = [name for name in columns if self.read(name, TRUTH)]
        if len(chosen) > 1:
            self.doubt(chosen[1], f"expected a single 1 in a row, and {chosen[0]} holds one too")
        return chosen[0] if len(chosen) == 1 else None

    def translate(self, words: Mapping[str, Mapping[str, str | None]]) -> None:
        """Put a config's words (in their plain form) in the place of the table's."""
        for column, meanings in words.items():
            text = self.values.get(column)
            if text is not None and plain(text) in meanings:
                self.values[column] = meanings[plain(text)]

    def doubt(self, column: str, problem: str) -> None:
        """Note that a cell makes no sense. Issues are counted by what stands before AT."""
        self.issues.append(f"{column}: {problem}{AT}{self.place}: {self.values.get(column)!r:.80}")
