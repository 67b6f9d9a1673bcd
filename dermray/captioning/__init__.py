"""Lesion images in, captions out: prompts, the vLLM engine in Ray Data, answers parsed and checked."""
