"""A skin tone from one image by a classifier that `dermray classify` trained on the column skin_tone, for ingest."""

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from dermray import storage
from dermray.classification import saved
from dermray.classification.scorers import Scorer, load_trained
from dermray.datasets.decode import square
from dermray.manifest import Result
from dermray.records import SKIN_TONES
from dermray.skin_tone.estimate import Estimate

COLUMN = "skin_tone"


def require(classifier: Result, field: str) -> None:
    """Refuse a classifier that tells something else apart; `field` of the config names it.

    Raises:
        ValueError: it does.
    """
    target = saved.target_of(storage.read_bytes(storage.join(classifier.data, "model", saved.CONFIG)))
    if target.column != COLUMN or not {*target.classes} <= {*SKIN_TONES}:
        raise ValueError(
            f"{field}={classifier.uri}: tells {', '.join(target.classes)} of column {target.column} apart, expected "
            f"{', '.join(SKIN_TONES)} of {COLUMN}: train one by `dermray classify ... column={COLUMN}`"
        )


@dataclass(frozen=True)
class ByClassifier:
    """Estimates by the class that the classifier decides for, as `dermray predict` does.

    It travels to workers, each of which loads the model once. An image is scored alone, so that nothing depends on
    which others are beside it.
    """

    model: str  # URI of the model's directory

    def __call__(self, image: Image.Image) -> Estimate:
        """Of one decoded image."""
        scorer = _loaded(self.model)
        _, chosen = scorer.judge(square(image, scorer.image_size)[None])
        return Estimate(scorer.target.classes[int(chosen[0])])


@lru_cache(maxsize=1)  # a worker process serves one ingest at a time
def _loaded(model: str) -> Scorer:
    return load_trained(model)
