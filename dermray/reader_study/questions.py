"""The two questions of a reader study, and what people may write in answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from dermray.classification.targets import BENIGN, BINARY, MALIGNANT
from dermray.datasets.cells import TRUTH, plain
from dermray.datasets.labels.words import entity_of

ORIGINAL, AI = "original", "AI"
ORIGIN = "origin"  # the second question, and its column in the form
ORIGIN_MEANINGS = {ORIGINAL: "a photograph of a patient", AI: "made by a generator"}
# As paper 000 tells them apart, and HAM10000 defines them (Tschandl et al. 2018).
ENTITY_MEANINGS = {
    "akiec": "actinic keratosis or intraepithelial carcinoma (Bowen's disease)",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis: seborrheic keratosis, solar lentigo or lichen-planus-like keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion: angioma, angiokeratoma, pyogenic granuloma or haemorrhage",
}
ORIGIN_WORDS = {
    **dict.fromkeys(("ai", "ai-generated", "ai generated", "generated", "synthetic", "artificial", "fake"), AI),
    **dict.fromkeys(("original", "real", "photograph", "photo", "genuine"), ORIGINAL),
}


@dataclass(frozen=True)
class Question:
    """A column of the form and the words that answer it. Of two classes the second is the positive one."""

    column: str
    classes: tuple[str, ...]

    @property
    def text(self) -> str:
        """As readers are asked."""
        if self.column == ORIGIN:
            return "Is it an original or made by AI?"
        if self.column == BINARY:
            return "Is what it shows benign or malignant?"
        return f"Which {self.column.replace('_', ' ')} does it show?"

    @property
    def meanings(self) -> list[str]:
        """What each word means; empty where it says so itself."""
        known = ORIGIN_MEANINGS if self.column == ORIGIN else ENTITY_MEANINGS if self.column == "entity" else {}
        return [known.get(name, "") for name in self.classes]

    def number(self, word: str) -> int:
        """Of the class that a word means, whatever its case and spaces. Entities have their usual names too.

        Raises:
            ValueError: a word for none of the classes.
        """
        said = plain(word)
        own = {plain(name): number for number, name in enumerate(self.classes)}
        if (found := own.get(said, own.get(plain(self._synonym(said) or "")))) is not None:
            return found
        told = [f"{name} ({means})" if means else name for name, means in zip(self.classes, self.meanings, strict=True)]
        raise ValueError(f"{self.column}={word!r}: no known answer; expected one of {', '.join(told)}")

    def _synonym(self, said: str) -> str | None:
        if self.column == ORIGIN:
            return ORIGIN_WORDS.get(said)
        if self.column == BINARY:
            return {True: MALIGNANT, False: BENIGN, None: None}[TRUTH.get(said)]
        return entity_of(said) if self.column == "entity" else None


def questions(column: str, classes: Sequence[str]) -> tuple[Question, Question]:
    """Both, in the order in which they are asked."""
    return Question(column, tuple(classes)), Question(ORIGIN, (ORIGINAL, AI))
