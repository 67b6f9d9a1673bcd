"""Classifiers: one, a sweep of them, and scores of one."""

from typing import Any

from dermray.backbones.networks import Backbone, input_of, network_of
from dermray.classification.arms import arms_of
from dermray.classification.classify_settings import ClassifyConfig
from dermray.classification.predict import PredictConfig
from dermray.classification.sweep_settings import SweepConfig
from dermray.planning import counting
from dermray.planning.estimate import Asked, Estimate, no_gpu
from dermray.planning.figure import Figure, computed, product, total, unknown
from dermray.planning.rates import hours, image_hours, rates
from dermray.planning.stages.learning import precision_of

PASSES = 3  # of a training step: forward, and about twice as much backward
SCORING = "scoring validation and test images is not counted"


def sweep(config: SweepConfig, asked: Asked) -> Estimate:
    """Every arm, backbone and seed."""
    trainings, seen = swept(config)
    images = computed(seen, "images that one backbone trains on, of all arms, numbers and seeds")
    count = computed(trainings * len(config.backbones), "arms x numbers of real images x seeds x backbones")
    amounts = {"trainings": count, "images seen": product([images, computed(len(config.backbones), "")], images.why)}
    if not config.tune.gpus_per_trial:
        return Estimate(amounts, no_gpu("tune.gpus_per_trial=0: it runs on CPUs"), notes=(SCORING,))
    precision = config.training.precision
    each = [trained_hours(one, config.image_size, precision, images, asked.gpu) for one in config.backbones]
    return Estimate(amounts, each[0] if len(each) == 1 else total(each, "of all backbones"), notes=(SCORING,))


def swept(config: SweepConfig) -> tuple[int, int]:
    """Trainings of one backbone in a sweep, and the images that it trains on in all of them."""
    arms = arms_of(config.arms, [source.name for source in config.sources])
    trainings = len(config.real_counts) * len(arms) * config.seeds
    if config.training.epochs is None:
        assert config.training.steps is not None
        return trainings, trainings * config.training.steps * config.training.batch_size
    images = sum(round(size * (arm.real + arm.synthetic_ratio)) for size in config.real_counts for arm in arms)
    return trainings, round(images * config.seeds * config.training.epochs)


def classify(config: ClassifyConfig, asked: Asked) -> Estimate:
    """One classifier, and the trials of its search."""
    results, training = asked.results, config.training
    images = results.rows(config.rows).train
    if config.synthetic:
        images = total([images, results.rows(config.synthetic).total], "real and synthetic")
    if training.epochs is None:
        assert training.steps is not None
        seen = computed(training.steps * training.batch_size, f"{training.steps} steps of {training.batch_size}")
    else:
        seen = product([images, computed(training.epochs, "")], f"{training.epochs} epochs")
    if config.search:
        seen = product([seen, computed(1 + config.search.trials, "")], f"at most, with {config.search.trials} trials")
    amounts = {"images": images, "images seen": seen}
    if not config.gpus:
        return Estimate(amounts, no_gpu("gpus=0: it runs on CPUs"), notes=(SCORING,))
    taken = trained_hours(config.backbone, config.image_size, training.precision, seen, asked.gpu)
    return Estimate(amounts, taken, notes=(SCORING,))


def predict(config: PredictConfig, asked: Asked) -> Estimate:
    """Scores of all rows."""
    rows = asked.results.rows(config.rows)
    if not config.gpus_per_actor:
        return Estimate({"rows": rows.total}, no_gpu("gpus_per_actor=0: it runs on CPUs"), rows)
    made = asked.results.of(config.classifier) if config.classifier else None
    if made is None or not isinstance(made.config, ClassifyConfig):
        whose = config.classifier or (config.zero_shot and config.zero_shot.model)
        return Estimate({"rows": rows.total}, unknown(f"what network scores is not known: {whose}"), rows)
    of = made.config
    taken = forward_hours(of.backbone.name, of.backbone.arguments, of.image_size, rows.total, asked.gpu)
    return Estimate({"rows": rows.total}, taken, rows)


def trained_hours(backbone: Backbone, size: int | None, precision: str, images: Figure, gpu: str) -> Figure:
    """GPU-hours of training on so many images: by a published rate at the network's usual size, or as counted."""
    name = backbone.name.partition(".")[0]
    if size is None and not backbone.arguments and name in rates().training.images_per_second:
        return image_hours(images, rates().training, name, gpu)
    operations, side = _forward(backbone, size)
    why = f"counted: {PASSES} x {operations / 1e9:.3g} GFLOP an image of {side} px"
    return hours(product([images, computed(PASSES * operations, why)], why), gpu, precision_of(precision))


def forward_hours(name: str, arguments: dict[str, Any], size: int | None, images: Figure, gpu: str) -> Figure:
    """GPU-hours of so many forward passes in full precision, as counted."""
    operations, side = _forward(Backbone(name=name, learning_rate=1.0, arguments=arguments), size)
    why = f"counted: {operations / 1e9:.3g} GFLOP an image of {side} px"
    return hours(product([images, computed(operations, why)], why), gpu, "tf32")


def _forward(backbone: Backbone, size: int | None) -> tuple[int, int]:
    """Operations of one image, and its side in px. No weight is read."""
    import torch

    side = size or input_of(backbone.model_copy(update={"weights": "random"})).size
    with torch.device("meta"):
        network = network_of(backbone, 2).eval()
        image = torch.empty(1, 3, side, side)
    return counting.operations_of(lambda: network(image)), side
