"""DermaFlux's instruction, without the label: a label in the instruction leaks into the caption (paper 002, section 3.2)."""

PROMPT = (
    "This is an image containing a lesion. "
    "Give me a description of this mole regarding its asymmetry, border irregularity, and color."
)


def render(row: dict[str, object]) -> str:
    """The same words for every row."""
    return PROMPT
