"""BERTScore (Zhang et al. 2020): tokens of an answer and of its reference matched by an encoder's last layer.

Written out here because torchmetrics 1.9 compares wrong sentences with each other where it is given several: it sorts
texts by length and puts their embeddings back in another order. One pair at a time its scores are these.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dermray import weights

AT_ONCE = 64  # texts
LONGEST = 512  # tokens; the rest of a longer text is not looked at


class BertScore:
    """An encoder of a directory, s3:// URI or hub id."""

    def __init__(self, model: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        place = weights.locate(model, "bertscore_model")
        self.encoder, self.tokenizer = AutoModel.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
        self.longest = min(LONGEST, getattr(self.encoder.config, "max_position_embeddings", LONGEST))

    def __call__(self, answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(N,) F1, of cosines and so in [-1, 1]; 0 for an empty answer. Neither rare words' weights nor rescaling."""
        scores = np.zeros(len(answers))
        said = [i for i, answer in enumerate(answers) if answer.strip()]
        for start in range(0, len(said), AT_ONCE):
            part = said[start : start + AT_ONCE]
            one, other = self._tokens([answers[i] for i in part]), self._tokens([references[i] for i in part])
            scores[part] = matched(*one, *other).numpy()
        return scores

    @torch.no_grad()
    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(B, L, D) unit vectors, and (B, L) which of them count: no padding, neither the first nor the last token,
        which are BERT's [CLS] and [SEP]."""
        batch: Any = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt", padding_side="right"
        )
        mask = batch["attention_mask"]
        vectors = self.encoder(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        counted = mask.clone()
        counted[:, 0] = 0
        counted[torch.arange(len(texts)), mask.sum(1) - 1] = 0
        return F.normalize(vectors.float(), dim=-1), counted.bool()


def matched(said: Tensor, said_counts: Tensor, true: Tensor, true_counts: Tensor) -> Tensor:
    """(B,) F1 where each token is matched with the most similar one of the other text (section 3, equation 1)."""
    similarity = said @ true.transpose(1, 2)  # (B, L, M)
    similarity = similarity.masked_fill(~(said_counts[:, :, None] & true_counts[:, None, :]), -torch.inf)
    precision = _mean(similarity.amax(2), said_counts)
    recall = _mean(similarity.amax(1), true_counts)
    return torch.nan_to_num(2 * precision * recall / (precision + recall))


def _mean(best: Tensor, counts: Tensor) -> Tensor:
    return best.masked_fill(~counts, 0).sum(1) / counts.sum(1)
