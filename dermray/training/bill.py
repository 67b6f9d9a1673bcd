"""What `dermray train --dry-run` prints: a forecast in words."""

from pydantic import BaseModel

from dermray.generators import frozen
from dermray.generators.base import family
from dermray.gpus import memories_here
from dermray.training.forecast import Forecast, forecast
from dermray.training.settings import TrainConfig, check

GPUS = (8, 12, 16, 24, 32, 40, 48, 80, 141, 180)  # GiB, of cards that are sold


def dry_run(config: TrainConfig) -> str:
    """The bill of a training. Nothing is started, no weights are read.

    Raises:
        FileNotFoundError, ValueError: see `forecast`; or the training would not start.
    """
    settings = check(config)
    if _has_weights(settings):
        family(config.family).check_start(settings)
    return told(config, forecast(config), min(memories_here(), default=None))


def _has_weights(settings: BaseModel) -> bool:
    """Whether what a training starts from lies here or in S3, weights too. A forecast does with folders of configs."""
    from dermray import storage, weights

    sources = {name: getattr(settings, name, None) for name in ("base", "vae", "text_encoder")}
    for name, given in sources.items():
        if given in (None, frozen.NANO):
            continue
        place = weights.everywhere(given, f"model.{name}")
        if weights.on_hub(place):
            return False
        files = [place] if weights.is_single_file(place) else storage.list_files(place)
        if not any(file.endswith(weights.TENSORS) for file in files):
            return False
    return True


def told(config: TrainConfig, bill: Forecast, gpu: int | None) -> str:
    """For people.

    Args:
        gpu: bytes of this machine's, where it has one.
    """
    lines = {
        "training": _how(config),
        "parameters": f"{bill.trained:,} trained, {bill.frozen:,} frozen",
        "operations": _operations(config, bill),
        "memory": _memory(bill),
        "GPU": _gpu(config, bill, gpu),
        "checkpoint": f"{file_bytes(bill.checkpoint)}; the last {config.loop.keep_checkpoints} are kept",
        "cache": _cache(config, bill),
    }
    return "\n".join(f"{name + ':':<12} {text}" for name, text in lines.items() if text)


def _how(config: TrainConfig) -> str:
    loop, (least, most) = config.loop, config.loop.least_and_most
    workers = f"{least} worker{'s' if least > 1 else ''}" if least == most else f"{least} to {most} workers"
    parts = f" in {loop.accumulate} parts" if loop.accumulate > 1 else ""
    again = ", activations computed again" if loop.gradient_checkpointing else ""
    side = f", {max(config.buckets)} px images" if config.buckets else ""
    side += f" in shapes of multiples of {config.aspects.multiple} px" if config.aspects else ""
    batches = f"batches of {loop.batch_size}{parts}"
    return f"{config.family}, {batches}, {workers} ({loop.parallel}), {loop.precision}{again}{side}"


def _operations(config: TrainConfig, bill: Forecast) -> str:
    a_step = f"{_number(bill.flops)}FLOP a step of {config.loop.batch_size} images"
    if bill.steps is not None:
        return f"{a_step}, {_number(bill.flops * bill.steps)}FLOP in {bill.steps:,} steps"
    return f"{a_step}; how many steps {config.loop.epochs:g} epochs are is known when the rows are there: {config.rows}"


def _memory(bill: Forecast) -> str:
    memory = bill.memory
    parts = {
        "weights": memory.weights, "averages": memory.averages, "optimizer": memory.optimizer,
        "gradients": memory.gradients, "activations": memory.activations,
    }  # fmt: skip
    listed = ", ".join(f"{name} {memory_bytes(size)}" for name, size in parts.items() if size)
    return f"at most {memory_bytes(memory.peak)} at a time a worker ({listed}; gradients come while activations go)"


def too_small(bill: Forecast, which: str, gpu: int) -> str:
    """What is needed, what is there, and what to do.

    Args:
        which: GPU. gpu: bytes of it.
    """
    return (
        f"a worker needs {_need(bill)}, and the GPU ({which}) has {memory_bytes(gpu)}; give "
        "loop.gradient_checkpointing=true, a larger loop.accumulate, or loop.parallel=fsdp and more workers"
    )


def _need(bill: Forecast) -> str:
    return f"{memory_bytes(bill.gpu)} with CUDA's own"


def _gpu(config: TrainConfig, bill: Forecast, gpu: int | None) -> str:
    """Where a worker has one. Previews and validation may take more than a step."""
    if not config.loop.gpus_per_worker:
        return ""
    if gpu is not None and bill.gpu > gpu:
        return f"too small here: {too_small(bill, 'that of this machine', gpu)}"
    large_enough = [size for size in GPUS if size * 2**30 >= bill.gpu]
    return f"{_need(bill)}: " + (
        f"{large_enough[0]} GiB or more" if large_enough else f"more than any of {GPUS[-1]} GiB has"
    )


def _cache(config: TrainConfig, bill: Forecast) -> str:
    if not config.encode_ahead:
        return ""
    size = ", at the largest size" if config.buckets else ""
    each = f"{file_bytes(bill.sample)} an encoded image with its caption{size}"
    return each if bill.images is None else f"{file_bytes(bill.sample * bill.images)}: {bill.images:,} images, {each}"


def file_bytes(size: int) -> str:
    """Of files, in the units of disks."""
    return f"{_number(size)}B"


def memory_bytes(size: int) -> str:
    """In the units of GPUs."""
    return f"{_number(size, 1024, ('', 'Ki', 'Mi', 'Gi', 'Ti'))}B"


def _number(value: float, step: int = 1000, prefixes: tuple[str, ...] = ("", "k", "M", "G", "T", "P", "E", "Z")) -> str:
    """Three digits and a unit's prefix, so that FLOP or B can follow."""
    for prefix in prefixes:
        if value < 999.5 or prefix == prefixes[-1]:
            break
        value /= step
    return f"{value:.3g} {prefix}"
