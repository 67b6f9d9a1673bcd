"""Any images: a folder per class, or a table with a mapping from its columns to ours."""

from collections import Counter
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dermray import storage
from dermray.datasets import class_folders
from dermray.datasets.cells import READERS, BadCell, Cells, is_missing, parse, plain
from dermray.datasets.labels.words import ENTITY, MALIGNANT, entity_of, malignant_of, require_match
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table

TEXTS = ("source_id", "patient_id", "lesion_id", "diagnosis", "licence")  # the columns that hold any words
MAPPABLE = (*TEXTS, "entity", *READERS)
Words = dict[str, dict[str, str | bool | float | None]]


class SourceConfig(TableConfig):
    """Class folders `path/<class>/x.jpg`, or with `table` a table of images below `path`.

    Split folders (`path/train/<class>/x.jpg`, `path/<class>/train/x.jpg`) are kept as the official split.

    A class that neither `malignant_classes` nor `benign_classes` names is of unknown label, unless
    `other_classes_are` says what the others are.
    """

    name: str = "folder"
    table: str | None = None
    images: str | list[str] = "."
    image_column: str = "image"
    columns: dict[str, str] = Field({}, description="our column -> the table's column")
    words: Words = Field({}, description="our column -> the table's word -> what it means there, null for unknown")
    malignant_classes: list[str] = Field([], description="class folders or diagnoses that are malignant")
    benign_classes: list[str] = Field([], description="class folders or diagnoses that are benign")
    other_classes_are: Literal["unknown", "benign", "malignant"] = "unknown"
    modality: Literal["dermoscopic", "clinical"] | None = None
    licence: str | None = Field(None, description="of the images whose row in the table names none")

    @field_validator("columns", "words")
    @classmethod
    def _ours(cls, given: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(given) - set(MAPPABLE)):
            raise ValueError(f"{unknown} are no columns of ours; expected keys out of {list(MAPPABLE)}")
        return given

    @field_validator("words")
    @classmethod
    def _meaningful(cls, given: Words, info: ValidationInfo) -> Words:
        if unmapped := sorted(set(given) - set(info.data.get("columns", given))):
            raise ValueError(f"{unmapped}: expected these among the keys of `columns`")
        for column, meanings in given.items():
            for word, meaning in meanings.items():
                _require_meaning(column, word, meaning)
        return given

    @field_validator("benign_classes")
    @classmethod
    def _one_of_two(cls, given: list[str], info: ValidationInfo) -> list[str]:
        both = set(map(plain, info.data.get("malignant_classes", []))) & set(map(plain, given))
        if both:
            raise ValueError(f"{sorted(both)} are among malignant_classes too: expected one of the two")
        return given

    @property
    def source(self) -> str:
        """What the rows' `source` says."""
        return self.name

    @property
    def granted(self) -> None:
        """What a table says of an image's licence holds."""

    def meanings(self) -> dict[str, dict[str, str | None]]:
        """`words` as text, by the plain form of the table's words."""
        return {
            column: {plain(word): None if m is None else str(m) for word, m in meanings.items()}
            for column, meanings in self.words.items()
        }

    def class_lists(self) -> tuple[list[str], list[str]]:
        """The malignant and the benign classes."""
        return self.malignant_classes, self.benign_classes

    def malignant(self, diagnosis: str | None) -> bool | None:
        """What the lists say of a class; of one that they do not name, what is said of the others, unless its entity is
        known to be the opposite."""
        others = {"unknown": None, "benign": False, "malignant": True}[self.other_classes_are]
        by_entity = MALIGNANT.get(entity_of(diagnosis) or "")
        return malignant_of(diagnosis, *self.class_lists(), None if by_entity == (not others) else others)


def _require_meaning(column: str, word: str, meaning: Any) -> None:
    try:
        if meaning is not None:
            parse(str(meaning), _reader(column))
    except BadCell as error:
        raise ValueError(f"{column}: {word}: {meaning!r}: {error}") from None


def _reader(column: str) -> Any:
    return {"entity": ENTITY, **READERS}.get(column, str.strip)


def read(config: SourceConfig) -> Reading:
    """All images.

    Raises:
        FileNotFoundError: no such folder or table.
        ValueError: a mapping to an unknown column, a word or class that occurs nowhere, or no image.
    """
    config = config.model_copy(update={"path": storage.readable(config.path)})
    if not storage.exists(config.path):
        raise FileNotFoundError(f"{config.path}: no such folder; check the source's path")
    if config.table is None:
        files, classes, count = class_folders.read(config.path, lambda row: of_class_folder(row, config))
        return class_folders.reading(files, check_classes(classes, config), count)
    required = [config.image_column, *config.columns.values()]
    found = open_table(config, list(dict.fromkeys(required)), watched=_watched(config))
    for column, meanings in config.words.items():
        require_match(meanings, found.words[config.columns[column]], f"words.{column}")
    facts = check_classes(found.words.get(config.columns.get("diagnosis", ""), Counter()), config)
    return read_table(found, to_row, config, facts)


def _watched(config: SourceConfig) -> dict[str, list[str]]:
    """The table's columns whose words the config names, with these words."""
    named = {ours: list(meanings) for ours, meanings in config.words.items()}
    named["diagnosis"] = [*named.get("diagnosis", []), *config.malignant_classes, *config.benign_classes]
    watched: dict[str, list[str]] = {}
    for ours, own in config.columns.items():  # two of ours may be read from one of the table's
        if ours in named:
            watched.setdefault(own, []).extend(named[ours])
    return watched


def check_classes(counts: Counter[str], config: SourceConfig) -> dict[str, Any]:
    """Refuse classes that occur nowhere, and say of which nothing was said."""
    meanings, words = config.meanings().get("diagnosis", {}), Counter[str]()
    for word, count in counts.items():
        meaning = meanings.get(plain(word), word)
        if meaning is not None and not is_missing(meaning, config.missing):
            words[meaning] += count
    require_match(config.malignant_classes, words, "malignant_classes")
    require_match(config.benign_classes, words, "benign_classes")
    unknown = {word: count for word, count in words.items() if config.malignant(word) is None}
    listed = [set(map(plain, names)) for names in config.class_lists()]
    others = {word: count for word, count in words.items() if plain(word) not in set.union(*listed)}
    assumed = {word: count for word, count in others.items() if word not in unknown}
    return {"classes_of_unknown_label": unknown, f"classes_taken_as_{config.other_classes_are}": assumed}


def to_row(cells: Cells, config: SourceConfig) -> Row:
    """One line of the table as a row."""
    ours = Cells({name: cells.values[own] for name, own in config.columns.items()}, cells.place, cells.missing)
    ours.translate(config.meanings())
    row: Row = {name: ours.read(name, _reader(name)) for name in config.columns}
    row |= {name: ours.identity(name, config.source) for name in ("patient_id", "lesion_id")}
    row |= {
        "file": cells.text(config.image_column),
        "source_id": row.get("source_id") or cells.text(config.image_column),
        "modality": row.get("modality") or config.modality,
        "licence": row.get("licence") or config.licence,
    }
    said, listed = row.get("malignant"), malignant_of(row.get("diagnosis"), *config.class_lists())
    if None not in (said, listed) and said != listed:
        ours.doubt("malignant", "expected what malignant_classes and benign_classes say of the diagnosis")
        row |= {"malignant": None, "diagnosis": None, "entity": None}  # one of them is wrong
    cells.issues += ours.issues
    return _with_class(row, config)


def _with_class(row: Row, config: SourceConfig) -> Row:
    """Label and entity by the class, where the row has none of its own."""
    diagnosis = row.get("diagnosis")
    if is_missing(diagnosis, config.missing):  # a folder may be called "unknown"
        diagnosis = row["diagnosis"] = None
    if row.get("malignant") is None:
        row["malignant"] = config.malignant(diagnosis)
    if row.get("entity") is None:
        row["entity"] = entity_of(diagnosis)
    return row


def of_class_folder(row: dict[str, Any], config: SourceConfig) -> dict[str, Any]:
    """What a file's place says, completed by what the config says of all."""
    told = {"source": config.name, "modality": config.modality, "licence": config.licence}
    return _with_class(row | told, config)
