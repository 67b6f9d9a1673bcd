"""Synthetic images: how many a plan asks for, and what each takes to draw."""

from dermray.planning import counting
from dermray.planning.estimate import Asked, Estimate, no_gpu, on_two_cores
from dermray.planning.figure import Figure, at_most, computed, product, unknown
from dermray.planning.outlook import Rows
from dermray.planning.rates import hours
from dermray.planning.stages.learning import TIMED_FAMILY, precision_of
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.settings import TrainConfig, check

GATE = "the gate against copies, and drawing again what it refuses, are not counted"


def estimate(config: SynthesisConfig, asked: Asked) -> Estimate:
    """By the generator's training, which is planned too or lies there."""
    images = _images(config)
    made = asked.results.of(config.generator)
    training = made.config if made is not None and isinstance(made.config, TrainConfig) else None
    operations = _operations(config, training, images, asked)
    amounts = {"images": images, "operations": operations}
    if training is not None and training.family == TIMED_FAMILY:
        amounts |= on_two_cores("generate", images)
    rows = Rows.all_alike(at_most(images))
    if not config.gpus_per_actor:
        return Estimate(amounts, no_gpu("gpus_per_actor=0: it runs on CPUs"), rows)
    precision = precision_of(_precision(training)) if training else "bf16"
    return Estimate(amounts, hours(operations, asked.gpu, precision), rows, (GATE,))


def _images(config: SynthesisConfig) -> Figure:
    if config.images is None:
        return unknown(f"plan.mode={config.plan.mode}: how many images there are is known when the rows are read")
    return computed(config.images, "count" if config.count else f"plan.mode={config.plan.mode}")


def _operations(config: SynthesisConfig, training: TrainConfig | None, images: Figure, asked: Asked) -> Figure:
    if training is None:
        return unknown(f"generator={config.generator}: no training is there, nor planned here; plan the run")
    try:
        each = counting.drawing(training, config.guidance_scale, asked.told)
    except (OSError, ValueError) as error:
        return unknown(f"operations could not be counted: {error}")
    why = f"{config.sampling_steps} steps an image, counted on tensors without data at the model's size"
    operations = product([images, computed(each.of(config.sampling_steps), why)], why)
    if config.sizes and operations.value is not None:
        return Figure(operations.value, operations.basis, f"{why}, though sizes={list(config.sizes)}", "about")
    return operations


def _precision(training: TrainConfig) -> str:
    return str(getattr(check(training), "dtype", "fp32"))  # families without one draw in full precision
