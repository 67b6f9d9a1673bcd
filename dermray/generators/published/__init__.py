"""Configs of published components, as their repositories have them: sizes without weights, and without asking a hub."""
