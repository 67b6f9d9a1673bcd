"""How alike two questions are: by what they mean, where a sentence-embedding model is at hand, else by their spelling.

Both turn a text into a few hundred bytes once (`features`), whatever else is asked in the same block, so that a
question is judged alike however a job is cut into blocks and wherever it goes on.

- Embedding: the mean of a transformer's last states over the tokens, of length 1; similarity is the cosine. Paper 003
  and Self-Instruct's followers reject from 0.7 on.
- MinHash (Broder 1997) of the letters in fours, without a model: similarity is the estimated Jaccard index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import Field

from dermray import storage, weights
from dermray.config import Config, ConfigError

if TYPE_CHECKING:
    from datasketch import MinHash

FIELD = "self_instruct.similarity.embedding"
COSINE = 0.7
# Measured, see benchmarks/results/question_similarity.md: from where on no two questions of ours count as one.
JACCARD = 0.4
PERMUTATIONS = 128  # the estimate's standard error is at most 0.044
BANDS, ROWS = 64, 2  # two texts of Jaccard index 0.4 share a band with probability 1 - (1 - 0.16)^64 = 0.99999
SCHEME = "affine32"  # datasketch's way of hashing, by name: features of another version would be others
LETTERS = 4
MOST_TOKENS = 256


class SimilarityConfig(Config):
    """What counts as a question that was asked before."""

    embedding: str | None = Field(
        None, description="sentence-embedding model: directory, s3:// URI or hub id; default: MinHash of the letters"
    )
    revision: str | None = Field(None, description="of a hub id: branch, tag or commit")
    threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description=f"similarity from which on a question is too similar: a cosine ({COSINE} if none) or, without an "
        f"embedding, a share of common letter groups ({JACCARD})",
    )


class Similarity(Protocol):
    """A measure. `nearest` of a question that was taken itself is 1."""

    @property
    def threshold(self) -> float:
        """From which on a question counts as asked before."""

    def features(self, texts: Sequence[str]) -> list[bytes]:
        """What is kept of each text: the same bytes whichever others come with it."""

    def pool(self) -> "Pool":
        """An empty one."""


class Pool(Protocol):
    """Questions that were taken, by number in the order in which they came."""

    def nearest(self, feature: bytes) -> tuple[int, float] | None:
        """The number of the most similar one and how similar it is, 0 to 1, if any may reach the threshold."""

    def add(self, feature: bytes) -> None:
        """One more."""


def similarity(config: SimilarityConfig, revision: str | None = None) -> Similarity:
    """The measure that config asks for. Cheap: an embedding's weights are read when it is first used.

    Args:
        revision: what `revision_of` gave.
    """
    if config.embedding is None:
        return Spelling(config.threshold or JACCARD)
    return Meaning(weights.everywhere(config.embedding, FIELD), revision, config.threshold or COSINE)


def revision_of(config: SimilarityConfig) -> str | None:
    """What tells the embedding's weights from others of the same name, after a look at its files; None without one.

    Raises:
        FileNotFoundError: no such directory or model, or no transformers folder with a tokenizer.
    """
    if config.embedding is None:
        return None
    place = weights.everywhere(config.embedding, FIELD)
    if not weights.on_hub(place):
        names = {file.rpartition("/")[2] for file in storage.list_files(place, below=False)}
        for needed in ("config.json", "tokenizer_config.json"):
            if needed not in names:
                raise FileNotFoundError(
                    f"{FIELD}={config.embedding}: no {needed} there; give the directory of a sentence-embedding model "
                    "as transformers' save_pretrained writes it, with its tokenizer"
                )
    return weights.revision_of(place, config.revision)


def plain(text: str) -> str:
    """Without case, punctuation and runs of spaces."""
    kept = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return " ".join(kept.split())


@dataclass(frozen=True)
class Spelling:
    """MinHash of groups of letters."""

    threshold: float = JACCARD

    def features(self, texts: Sequence[str]) -> list[bytes]:
        """512 bytes each."""
        from datasketch import MinHash

        groups = [_letters(text) for text in texts]
        hashed = MinHash.bulk(groups, num_perm=PERMUTATIONS, scheme=SCHEME)
        return [one.hashvalues.astype("<u4").tobytes() for one in hashed]

    def pool(self) -> Pool:
        """Found by locality-sensitive hashing: a look-up costs the same however many there are."""
        return _Spelled(self.threshold)


def _letters(text: str) -> list[bytes]:
    """Groups that overlap, with the borders of words; a text that is shorter is one group."""
    padded = f" {plain(text)} ".encode()
    return [padded[start : start + LETTERS] for start in range(max(1, len(padded) - LETTERS + 1))]


class _Spelled:
    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self.found = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
        self.hashes = list[np.ndarray]()

    def nearest(self, feature: bytes) -> tuple[int, float] | None:
        hashes = np.frombuffer(feature, "<u4")
        near = sorted(self.found.query(_hashed(hashes)))
        if not near:
            return None
        shares = [float((self.hashes[number] == hashes).mean()) for number in near]
        best = int(np.argmax(shares))
        return near[best], shares[best]

    def add(self, feature: bytes) -> None:
        hashes = np.frombuffer(feature, "<u4")
        self.found.insert(len(self.hashes), _hashed(hashes))
        self.hashes.append(hashes)


def _hashed(hashes: np.ndarray) -> "MinHash":
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, hashvalues=hashes, scheme=SCHEME)


@dataclass(frozen=True)
class Meaning:
    """Sentence embeddings of a transformer."""

    place: str  # as `weights.everywhere` gives it
    revision: str | None
    threshold: float = COSINE

    def features(self, texts: Sequence[str]) -> list[bytes]:
        """Two bytes a dimension."""
        return [vector.astype("<f2").tobytes() for vector in embedded(self.place, self.revision, texts)]

    def pool(self) -> Pool:
        """Compared with all that were taken, which are bounded by config."""
        return _Meant()


class _Meant:
    def __init__(self) -> None:
        self.vectors, self.count = np.empty((0, 0), np.float32), 0

    def nearest(self, feature: bytes) -> tuple[int, float] | None:
        if not self.count:
            return None
        cosines = self.vectors[: self.count] @ _unit(feature)
        best = int(cosines.argmax())
        return best, float(cosines[best])

    def add(self, feature: bytes) -> None:
        vector = _unit(feature)
        if self.count == len(self.vectors):  # twice as many places, so that each is copied a few times in all
            grown = np.zeros((max(256, 2 * self.count), len(vector)), np.float32)
            if self.count:
                grown[: self.count] = self.vectors
            self.vectors = grown
        self.vectors[self.count] = vector
        self.count += 1


def _unit(feature: bytes) -> np.ndarray:
    vector = np.frombuffer(feature, "<f2").astype(np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def embedded(place: str, revision: str | None, texts: Sequence[str]) -> np.ndarray:
    """(N, D) float32 of length 1: means over the tokens, as sentence-transformers' mean pooling has it.

    One text at a time: beside others its last digits would be others.
    """
    import torch

    tokenizer, model = _model(place, revision)
    vectors = []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=MOST_TOKENS)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state  # (1, tokens, D)
        vectors.append(torch.nn.functional.normalize(states.float().mean(1), dim=-1)[0].numpy())
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


@lru_cache(maxsize=1)
def _model(place: str, revision: str | None) -> tuple[Any, Any]:
    """Tokenizer and model, kept by the process."""
    from transformers import AutoModel, AutoTokenizer

    local = weights.locate(place, FIELD, revision)
    hub = {"revision": revision} if weights.on_hub(place) else {}
    tokenizer = AutoTokenizer.from_pretrained(local, **hub)
    model = AutoModel.from_pretrained(local, **hub).eval()
    if not hasattr(model.config, "hidden_size"):
        raise ConfigError(f"{FIELD}={place}: a model of type {model.config.model_type!r} with no states of tokens")
    return tokenizer, model
