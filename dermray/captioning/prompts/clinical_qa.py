"""DermaSynth's general and dataset-specific questions (paper 003), metadata as context that must not be quoted.

The paper prints no list of its phrasings: these are ours. Which are asked is drawn from the image's own id.
"""

from typing import Any

from dermray.captioning.answers import Answer, read_json
from dermray.captioning.prompts import PromptSet
from dermray.captioning.reading import parse

GENERAL = (
    "Describe the lesion in this image.",
    "What can be seen in this image of the skin?",
    "Which visual features of this lesion would you point out to a colleague?",
    "Give a clinical description of what this image shows.",
)
SPECIFIC = {
    "dermoscopic": (
        "Which dermoscopic structures and colours are visible, and how are they arranged?",
        "How symmetric is the lesion under the dermatoscope, and how does its border end?",
        "Which dermoscopic features here argue for and which against a melanocytic lesion?",
    ),
    "clinical": (
        "How do the lesion's surface, elevation and border look to the naked eye?",
        "How does the lesion differ from the skin around it?",
        "What would you look at more closely in this patient, and why?",
    ),
}


def choose(row: dict[str, Any]) -> dict[str, Any]:
    """One question of each family; equal ids always get equal questions."""
    draw = int(str(row.get("sample_id") or "0")[:8], 16)
    specific = SPECIFIC.get(str(row.get("modality")), SPECIFIC["dermoscopic"])
    return {"questions": [GENERAL[draw % len(GENERAL)], specific[draw // len(GENERAL) % len(specific)]]}


SCHEMA = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "items": {
        "type": "object",
        "properties": {"question": {"type": "string"}, "answer": {"type": "string", "minLength": 1}},
        "required": ["question", "answer"],
        "additionalProperties": False,
    },
}


def read(answer: str) -> Answer:
    """Both answers; the general one is the text.

    Raises:
        ValueError: not JSON, or not of the schema.
    """
    pairs = read_json(answer, SCHEMA)
    general = parse(str(pairs[0]["answer"]))
    return Answer(general.attributes, general.text, tuple((p["question"], p["answer"]) for p in pairs))


PROMPT_SET = PromptSet(
    """{% if known %}
Internal context, for your reasoning only. Never quote it, never say that it was given:
{% for name, value in known.items() %}
- {{ name }}: {{ value }}
{% endfor %}

{% endif %}
Answer both questions from what the image shows.
{% for question in questions %}
{{ loop.index }}. {{ question }}
{% endfor %}
Answer with a JSON list of two objects, in this order, each with the keys "question" and "answer".""",
    read,
    schema=SCHEMA,
    sentences=True,
    internal_context=True,
    prepare=choose,
    phrasings=(GENERAL, SPECIFIC),
)
