"""What a user looks up: presets, and the configs of stages as templates and JSON schemas."""
