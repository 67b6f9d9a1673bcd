"""DermDiT's two attributes, disease type and skin tone (paper 001, section 3). The paper does not print its words."""

from dermray.captioning.prompts import PromptSet

PROMPT_SET = PromptSet(
    """This is a {{ known["image type"] | default("dermoscopic") }} image of a
{%- if "label" in known %} {{ known.label }}{% endif %} skin lesion
{%- if "skin tone" in known %} on skin tone {{ known["skin tone"] }}{% endif %}.
Describe in one or two sentences what the image shows
{%- if "label" in known or "skin tone" in known %}, and say in them the attributes given here{% endif %}.""",
    sentences=True,
    needs=("malignant", "skin_tone"),
)
