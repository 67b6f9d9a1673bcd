"""Answers beside their references: BLEU and ROUGE.

Written out, because the processes that score answers would each take six seconds to import torchmetrics, which the
tests hold these against.
"""

import re
from collections import Counter

import numpy as np

ORDERS = 4  # BLEU's n-grams
ROUGE = ("rouge1", "rouge2", "rougeL")
ESCAPED = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
# mteval-v13a, sacrebleu's default: marks apart; dots and commas too, but not between digits; dashes after digits
MARKS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
NO_WORD = re.compile(r"[^a-z0-9]+")  # of ROUGE


def bleu_tokens(text: str) -> list[str]:
    """Words and marks, cased."""
    text = text.replace("-\n", "").replace("\n", " ")
    for escaped, mark in ESCAPED.items():
        text = text.replace(escaped, mark)
    text = f" {text} "
    for pattern, replacement in MARKS:
        text = pattern.sub(replacement, text)
    return text.split()


def bleu_counts(answer: str, reference: str) -> list[int]:
    """What corpus BLEU needs of one answer: n-grams that match (4), n-grams (4), tokens of answer and reference.

    Summed over answers they give the corpus' BLEU, and so can be resampled; see `bleu`.
    """
    said, true = bleu_tokens(answer), bleu_tokens(reference)
    orders = range(1, ORDERS + 1)
    matches = [(grams(said, n) & grams(true, n)).total() for n in orders]
    return [*matches, *(max(len(said) - n + 1, 0) for n in orders), len(said), len(true)]


def bleu(counts: np.ndarray) -> np.ndarray:
    """Corpus BLEU in [0, 1] without smoothing (Papineni et al. 2002, section 2.3) of summed counts.

    Args:
        counts: (..., 10), sums of `bleu_counts` in any weights.

    Returns:
        (...); 0 where no n-gram of some order matches, nan where there is no reference.
    """
    matches, found = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    said, reference = counts[..., -2], counts[..., -1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        precision = np.where(found > 0, matches / found, 0.0)
        mean = np.exp(np.log(precision).mean(-1))  # log 0 is -inf, and its exponential 0
        brevity = np.where(said > reference, 1.0, np.exp(1 - reference / said))
    return np.where(reference > 0, np.where(said > 0, mean * brevity, 0.0), np.nan)


def rouge(answer: str, reference: str) -> dict[str, float]:
    """F measures in [0, 1] of ROUGE-1, -2 and -L (Lin 2004), in lower case and without stemming."""
    said, true = (NO_WORD.sub(" ", text.lower()).split() for text in (answer, reference))
    scores = {}
    for n in (1, 2):
        one, other = grams(said, n), grams(true, n)
        scores[f"rouge{n}"] = f_measure((one & other).total(), one.total(), other.total())
    return scores | {"rougeL": f_measure(longest_common(said, true), len(said), len(true))}


def f_measure(shared: int, said: int, true: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * shared / (said + true) if shared else 0.0


def grams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each sequence of n tokens occurs."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def longest_common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for token in one:
        before = 0  # of the row above, one to the left
        for i, word in enumerate(other, 1):
            before, row[i] = row[i], before + 1 if token == word else max(row[i], row[i - 1])
    return row[-1]
