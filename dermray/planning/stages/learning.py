"""Stages that train by Ray Train: the nano captioner, generators, vision-language models."""

import math
from typing import Any

from dermray.planning import counting, licences
from dermray.planning.estimate import Asked, Estimate, no_gpu, on_two_cores
from dermray.planning.figure import Figure, at_most, computed, product, total, unknown
from dermray.planning.outlook import Rows
from dermray.planning.rates import hours, rates
from dermray.train_loop.settings import LoopConfig
from dermray.training.settings import TrainConfig
from dermray.vlm.run import CaptionerConfig
from dermray.vlm.tuning.settings import TuneConfig

TIMED_FAMILY = "pixel_dermdit"  # on two CPU cores
LLAMA_VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"  # whose image encoder is beside its language model


def captioner(config: CaptionerConfig, asked: Asked) -> Estimate:
    """The nano captioner, which learns on CPUs from phantoms of its own."""
    phantoms = computed(config.phantoms, "phantoms")
    steps = steps_of(config.loop, phantoms)
    return Estimate({"phantoms": phantoms, "steps": steps, **on_two_cores("captioner", steps)}, no_gpu())


def train(config: TrainConfig, asked: Asked) -> Estimate:
    """A generator. Operations are counted on tensors without data."""
    images = _images(config, asked.results.rows(config.rows))
    steps = steps_of(config.loop, images)
    amounts = {"images of the train split": images, "steps": steps}
    try:
        each = counting.training(config, asked.told)
    except (OSError, ValueError) as error:
        none = unknown(f"operations could not be counted: {error}")
        return Estimate(amounts | {"operations": none, "checkpoints (bytes)": none}, _on_gpus(config, none, asked))
    kept = config.loop.keep_checkpoints
    seen = product([steps, computed(config.loop.batch_size, "")], f"steps of {config.loop.batch_size} images")
    operations = _operations(config, each, seen, images)
    amounts |= {
        "operations": operations,
        "parameters trained": computed(each.trained, "counted"),
        "checkpoints (bytes)": computed(each.checkpoint * kept, f"the last {kept} of {each.checkpoint:,}"),
    }
    if config.encode_ahead:
        sizes = product([images, computed(each.sample, "")], f"{each.sample:,} an encoded image with its caption")
        amounts["encoded ahead (bytes)"] = at_most(sizes)
    if config.family == TIMED_FAMILY:
        amounts |= on_two_cores("train", steps)
    return Estimate(amounts, _on_gpus(config, operations, asked), notes=("previews and validation are not counted",))


def tune(config: TuneConfig, asked: Asked) -> Estimate:
    """A vision-language model, by operations of its weights: two each and token, in every pass."""
    samples = _samples(config, asked.results.rows(config.rows))
    steps = steps_of(config.loop, samples)
    seen = product([steps, computed(config.loop.batch_size, "")], f"steps of {config.loop.batch_size}")
    amounts = {
        "samples": samples,
        "steps": steps,
        "tokens": product([seen, _tokens(config)], _tokens(config).why),
        "operations": product([seen, _sample_operations(config)], _sample_operations(config).why),
        "checkpoints (bytes)": unknown("`dermray tune-vlm --dry-run` says it where the base's small files are at hand"),
    }
    if not config.loop.gpus_per_worker:
        return Estimate(amounts, no_gpu())
    return Estimate(amounts, hours(amounts["operations"], asked.gpu, precision_of(config.loop.precision)))


def steps_of(loop: LoopConfig, images: Figure) -> Figure:
    """Steps of a training."""
    if loop.epochs is None:
        return computed(loop.steps, "loop.steps")
    if images.value is None:
        return unknown(f"{loop.epochs:g} epochs of an unknown number: {images.why}")
    why = f"{loop.epochs:g} epochs in batches of {loop.batch_size}"
    steps = math.ceil(images.value * loop.epochs / loop.batch_size)
    return Figure(steps, "computed" if images.basis == "measured" else images.basis, why, images.bound)


def precision_of(name: str) -> str:
    """The column of a card's peaks: TensorFloat-32 is assumed for numbers of 32 bits."""
    return "tf32" if name in ("fp32", "float32") else "bf16"


def _images(config: TrainConfig, rows: Rows) -> Figure:
    if config.small_images == "drop":
        return at_most(rows.train, f"{rows.train.why}; small ones are dropped" if rows.train.value else "")
    return rows.train


def _on_gpus(config: TrainConfig, operations: Figure, asked: Asked) -> Figure:
    if not config.loop.gpus_per_worker:
        return no_gpu("loop.gpus_per_worker=0: it runs on CPUs")
    return hours(operations, asked.gpu, precision_of(config.loop.precision))


def _operations(config: TrainConfig, each: counting.Training, seen: Figure, images: Figure) -> Figure:
    """Of all steps, and of encoding ahead."""
    why, several = "counted on tensors without data, as `dermray train --dry-run` does", len(config.buckets) > 1
    if several:
        why = f"counted at {max(config.buckets)} px, the largest size; smaller ones take less"
    steps = product([seen, computed(each.train, why)], why)
    once = product([images, computed(each.encode, why)], why)
    work = total([steps, once], why) if each.encode else steps
    return at_most(work) if several else work


def _samples(config: TuneConfig, rows: Rows) -> Figure:
    if config.samples is not None:
        return at_most(computed(config.samples, "samples, fewer where there are fewer"))
    return rows.train


def _tokens(config: TuneConfig) -> Figure:
    known = licences.known_weights(config.base)
    image = (known.image_tokens if known else None) or rates().lengths.image
    text = rates().lengths.conversation
    return Figure(image + text, "assumed", f"{image} of the image and {text} of a question with its answer")


def _sample_operations(config: TuneConfig) -> Figure:
    """Forward and gradients passed on; forward again where activations are not kept, and gradients of weights."""
    passes = 2 + config.loop.gradient_checkpointing + (config.method == "full")
    if config.base == LLAMA_VISION:
        counted: dict[str, Any] = counting.counted()["llama_vision"]
        why = f"counted: four tiles once, {rates().lengths.conversation} (assumed) tokens of text in {passes} passes"
        return Figure(counted["vision"] + passes * counted["text"], "assumed", why)
    known = licences.known_weights(config.base)
    if known is None or known.parameters is None:
        return unknown(f"how many weights {config.base} has is not known; weights.yaml lists the models that are")
    weights = Figure(known.parameters, "published", known.source)
    why = f"2 a weight and token in {passes} passes"
    return product([weights, _tokens(config), computed(2 * passes, why)], why)
