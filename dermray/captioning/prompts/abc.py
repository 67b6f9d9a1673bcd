"""DermaFlux's instruction (paper 002) without the label, which would leak into the caption."""

from dermray.captioning.prompts import PromptSet

PROMPT_SET = PromptSet(
    "This is an image containing a lesion. "
    "Give me a description of this mole regarding its asymmetry, border irregularity, and color.",
    needs_attributes=True,
)
