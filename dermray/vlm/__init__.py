"""Vision-language models that describe lesions: a nano one built and trained here, and export for vLLM."""
