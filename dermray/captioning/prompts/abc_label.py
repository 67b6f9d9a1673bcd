"""DermaFlux's instruction as published (paper 002), label inside: measure the leak with `dermray audit-captions`."""

from dermray.captioning.prompts import PromptSet

PROMPT_SET = PromptSet(
    "This is an image containing a {% if 'label' in known %}{{ known.label }} {% endif %}lesion. "
    "Give me a description of this mole regarding its asymmetry, border irregularity, and color.",
    needs_attributes=True,
    needs=("malignant",),
)
