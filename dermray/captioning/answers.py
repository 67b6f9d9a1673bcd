"""What an answer says, as data; `phrase` puts it in words that `reading.parse` reads back."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attributes:
    """What an answer says of a lesion; None or empty where it says nothing."""

    asymmetry: bool | None = None
    border_irregular: bool | None = None
    colours: tuple[str, ...] = ()
    skin_tone: str | None = None
    structures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """An answer that was read: what it says of the lesion, its text, and question-answer pairs where asked for."""

    attributes: Attributes
    text: str
    pairs: tuple[tuple[str, str], ...] = ()


def phrase(attributes: Attributes) -> str:
    """One plain sentence per attribute; unknown ones are left out."""
    parts = []
    if attributes.asymmetry is not None:
        parts.append("asymmetric lesion" if attributes.asymmetry else "symmetric lesion")
    if attributes.border_irregular is not None:
        parts.append("irregular border" if attributes.border_irregular else "smooth border")
    if attributes.colours:
        parts.append(" and ".join(attributes.colours))
    if attributes.structures:
        parts.append(" and ".join(attributes.structures))
    if attributes.skin_tone is not None:
        parts.append(f"skin tone {attributes.skin_tone}")
    return ", ".join(parts) + "."


def read_json(answer: str, schema: dict[str, Any]) -> Any:
    """What an answer in JSON says.

    Raises:
        ValueError: not JSON, or not of the schema.
    """
    import jsonschema

    try:
        said = json.loads(answer)
        jsonschema.validate(said, schema)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg}") from None
    except jsonschema.ValidationError as error:
        raise ValueError(f"JSON outside its schema: {error.json_path}") from None
    return said
