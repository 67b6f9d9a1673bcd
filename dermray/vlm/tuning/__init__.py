"""Fine-tuning of any image-text-to-text model of transformers on rows with words, by Ray Train.

From rows to batches, in the order of use:

- `conversations`: `AnswersConfig` is a section of the stage's config: where answers stand in rows, what is asked;
  `.columns` are to be read beside sample_id, image, status. `conversations_of(row, config)` gives `Conversation`s or
  raises Unusable, whose message is the row's reason.
- `collate.Collator(processor, max_length, image_side, variables)` raises ConfigError where the chat template does not
  fit, before any row is read; so does `check_several_turns()`, to be asked where turns are together. `problem(talk)` is
  a reason or None (it decodes the image), `lengths(talk)` the tokens in a batch, `collator(talks)` what
  `model(**batch)` takes, `labels` among it. The model's loss is the mean over `batch["labels"][:, 1:] != -100`, by
  whose number to weigh the shares of several workers.
- `order.LengthOrder(count, lengths, batch_size, seed).share(step, rank, workers)`: which conversations a step takes.
- `packing.refusal(model_type, attention)` is why a model's conversations cannot be packed, or None;
  `packing.packed(batch)` is a batch as one row without padding.
"""
