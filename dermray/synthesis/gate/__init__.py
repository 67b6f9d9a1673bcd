"""The memorisation gate: is a synthetic image a copy of a training image? See docs/memorisation.md."""
