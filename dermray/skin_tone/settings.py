"""Where a row's skin tone may come from, as a config says it."""

from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dermray import manifest, storage
from dermray.config import Config
from dermray.manifest import Result
from dermray.result_fields import ResultOf
from dermray.skin_tone.filling import AS_TOLD, Filling

FIELD = "skin_tone"
CLASSIFIERS = ("classify", "sweep")
BY_CLASSIFIER = "dermray.classification.skin_tones"  # imported when it is asked for: ingest needs no classifier


class ByClassifierConfig(Config):
    """A classifier of skin tones."""

    classifier: Annotated[str, ResultOf(*CLASSIFIERS)] = Field(
        description="result of the classify or sweep stage on the column skin_tone"
    )


def _known(given: Any) -> Any:
    if given in ("metadata", "ita") or isinstance(given, dict | ByClassifierConfig):
        return given
    raise ValueError("expected metadata, ita, or {classifier: <result of the classify stage on column skin_tone>}")


SkinTone = Annotated[Literal["metadata", "ita"] | ByClassifierConfig, BeforeValidator(_known)]


def judges_of(given: SkinTone) -> dict[str, Result]:
    """The classifier's result under the field's name, so that a config is known by what it is and not by its place.

    Raises:
        FileNotFoundError, ValueError: there is none, or it tells no skin tones apart.
    """
    if isinstance(given, str):
        return {}
    field = f"{FIELD}.classifier"
    result = manifest.read(given.classifier)
    if result.manifest.stage not in CLASSIFIERS:
        raise ValueError(
            f"{field}={given.classifier}: result of stage {result.manifest.stage!r}, expected one of {CLASSIFIERS}"
        )
    import_module(BY_CLASSIFIER).require(result, field)
    return {FIELD: result}


def filling(given: SkinTone, opened: dict[str, Result]) -> Filling:
    """What fills in skin tones; `opened` is what `judges_of` gave."""
    if given == "metadata":
        return AS_TOLD
    if isinstance(given, str):
        from dermray.skin_tone.estimate import ByAngle

        return Filling(ByAngle())
    return Filling(import_module(BY_CLASSIFIER).ByClassifier(storage.join(opened[FIELD].data, "model")))
