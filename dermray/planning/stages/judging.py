"""Evaluations: features of real and of synthetic images, by each extractor."""

from collections.abc import Iterator

from dermray.classification.classify_settings import ClassifyConfig
from dermray.evaluation.settings import EvaluationConfig
from dermray.features.settings import ExtractorConfig
from dermray.planning.estimate import Asked, Estimate, no_gpu
from dermray.planning.figure import Figure, total, unknown
from dermray.planning.outlook import Rows
from dermray.planning.rates import image_hours, rates
from dermray.planning.stages.classifying import forward_hours

NOTE = "the judge, CLIP scores, pairs and plots are not estimated"


def estimate(config: EvaluationConfig, asked: Asked) -> Estimate:
    """By published rates of Inception, and by counted operations of other networks."""
    real = _real(config, asked.results.rows(config.rows))
    places = [config.synthetic] if isinstance(config.synthetic, str) else list(config.synthetic.values())
    drawn = total([asked.results.rows(place).total for place in places], "images of all generators")
    images = total([real, drawn], "real and synthetic")
    amounts = {"real images": real, "synthetic images": drawn}
    if not config.gpus_per_actor:
        return Estimate(amounts, no_gpu("gpus_per_actor=0: it runs on CPUs"), notes=(NOTE,))
    each = list(_by_extractor(config, images, asked))
    return Estimate(amounts, each[0] if len(each) == 1 else total(each, "of all extractors"), notes=(NOTE,))


def _real(config: EvaluationConfig, rows: Rows) -> Figure:
    return {
        "train": rows.train, "all": rows.total, "held_out": total([rows.val, rows.test], "the val and test splits"),
    }[config.real]  # fmt: skip


def _by_extractor(config: EvaluationConfig, images: Figure, asked: Asked) -> Iterator[Figure]:
    for extractor in config.extractors:
        if extractor.kind in rates().features.images_per_second:
            yield image_hours(images, rates().features, extractor.kind, asked.gpu)
        else:
            yield _counted(extractor, images, asked)


def _counted(extractor: ExtractorConfig, images: Figure, asked: Asked) -> Figure:
    if extractor.kind == "timm" and extractor.name:
        return forward_hours(extractor.name, {}, None, images, asked.gpu)
    made = asked.results.of(extractor.weights) if extractor.kind == "classifier" and extractor.weights else None
    if made is not None and isinstance(made.config, ClassifyConfig):
        backbone = made.config.backbone
        return forward_hours(backbone.name, backbone.arguments, made.config.image_size, images, asked.gpu)
    return unknown(f"no rate of {extractor.kind} ({extractor.weights}) is known; rates.yaml has those that are")
