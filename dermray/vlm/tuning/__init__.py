"""Fine-tuning of vision-language models.

From rows to batches, in the order of use:

- `conversations.Conversation(sample_id, image, turns)`: what is trained on.
- `collate.Collator(processor, max_length, image_side, variables)`: raises ConfigError where the chat template does not
  fit, before any row is read. `problem(conversation)` is a reason or None, `lengths(conversation)` its tokens in a
  batch, `collator(conversations)` what `model(**batch)` takes: padded at the right, `labels` among it. The loss of
  transformers' models is then the mean over the labels that are not -100, and `batch["labels"][:, 1:] != -100` are the
  tokens to weigh batches of several workers by.
"""
