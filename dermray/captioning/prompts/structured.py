"""Ours: one JSON object by guided decoding, in the vocabulary of the ABCD rule and dermoscopy."""

from dermray.captioning.answers import Answer, Attributes, read_json
from dermray.captioning.prompts import PromptSet
from dermray.records import COLOURS, SKIN_TONES, STRUCTURES

SCHEMA = {
    "type": "object",
    "properties": {
        "asymmetry": {"enum": ["symmetric", "asymmetric"]},
        "border": {"enum": ["smooth", "irregular"]},
        "colours": {"type": "array", "items": {"enum": list(COLOURS)}, "minItems": 1, "maxItems": len(COLOURS)},
        "structures": {"type": "array", "items": {"enum": list(STRUCTURES)}, "maxItems": len(STRUCTURES)},
        "skin_tone": {"enum": list(SKIN_TONES)},
        "description": {"type": "string", "maxLength": 240},
    },
    "required": ["asymmetry", "border", "colours", "structures", "skin_tone", "description"],
    "additionalProperties": False,
}


def read(answer: str) -> Answer:
    """The object's attributes; its description is the text.

    Raises:
        ValueError: not JSON, or not of the schema.
    """
    said = read_json(answer, SCHEMA)
    attributes = Attributes(
        asymmetry=said["asymmetry"] == "asymmetric",
        border_irregular=said["border"] == "irregular",
        colours=tuple(name for name in COLOURS if name in said["colours"]),
        skin_tone=said["skin_tone"],
        structures=tuple(name for name in STRUCTURES if name in said["structures"]),
    )
    return Answer(attributes, said["description"].strip())


PROMPT_SET = PromptSet(
    f"""Look at the skin lesion in this image and answer with one JSON object with these keys:
asymmetry (symmetric or asymmetric in shape, colour or structure over two perpendicular axes),
border (smooth or irregular), colours (those present out of {", ".join(COLOURS)}),
structures (those present out of {", ".join(STRUCTURES)}),
skin_tone (A: Fitzpatrick I to II, B: III to IV, C: V to VI),
description (one or two sentences on what is seen, without a diagnosis).""",
    read,
    schema=SCHEMA,
)
