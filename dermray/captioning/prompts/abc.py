"""DermaFlux's instruction (paper 002) without the label, which would leak into the caption."""

PROMPT = (
    "This is an image containing a lesion. "
    "Give me a description of this mole regarding its asymmetry, border irregularity, and color."
)


def render(row: dict[str, object]) -> str:
    """The same words for every row."""
    return PROMPT
