"""DermDiT's five attributes: disease type, skin tone, sex, age, anatomical site (paper 001, section 3)."""

from dermray.captioning.prompts import PromptSet

PROMPT_SET = PromptSet(
    """This is a {{ known["image type"] | default("dermoscopic") }} image of a
{%- if "label" in known %} {{ known.label }}{% endif %} skin lesion.
{% set given = ["skin tone", "sex", "age", "anatomical site"] %}
{% for name in given if name in known %}
{{ name | capitalize }}: {{ known[name] }}.
{% endfor %}
Describe in one or two sentences what the image shows
{%- if "label" in known or given | select("in", known) | list -%}
, and say in them the attributes given here
{%- endif %}.""",
    sentences=True,
    needs=("malignant", "skin_tone", "sex", "age", "site"),
)
