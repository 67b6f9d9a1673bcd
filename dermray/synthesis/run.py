"""The synthesis stage: a generator and its training captions in, synthetic rows with provenance out."""

from dataclasses import asdict

import numpy as np

from dermray import manifest, storage
from dermray.captioning.resume import require_each_once
from dermray.columns import Tally, add, batches
from dermray.datasets.leaks import require_whole_groups
from dermray.datasets.licences import of_result
from dermray.exactly_once import Ids
from dermray.generators.base import family
from dermray.generators.coverage import losses
from dermray.manifest import Result, Rows
from dermray.progress import busy, rows_written, watched
from dermray.synthesis.drawing import draw
from dermray.synthesis.gate.calibrating import require_held_out
from dermray.synthesis.gate.stage import check as check_gate
from dermray.synthesis.gate.stage import make_gate
from dermray.synthesis.gate.stage import write_page as write_gate_page
from dermray.synthesis.planning import Drawable, planned_here, write_plan
from dermray.synthesis.preview import in_words
from dermray.synthesis.report_block import report_block as report_block  # into a run's report
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.run import image_size


def run(config: SynthesisConfig) -> Result:
    """Draw the plan.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a generator trained on other rows, a gate's extractor that
            cannot be opened, or a plan that its captions cannot make.
    """
    generator, rows, source = _source(config)
    earlier = manifest.read(config.gate_of, "generate") if config.gate_of else None
    config = check_gate(config, generator, rows, earlier)
    inputs = {"generator": generator, "rows": rows} | ({"gate_of": earlier} if earlier else {})
    with manifest.work("generate", config.output, config, inputs) as work:
        if work.finished:
            return work.finished
        if config.gate.false_rate:
            require_held_out(rows.row_files(), config.rows)
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        ray.get(ray.remote(require_whole_groups).remote(rows))  # the gate is calibrated by other splits
        plan = storage.join(work.data, "plan")
        with watched(busy("planning")):
            settled, text = write_plan(source, plan, config)
        for warning in [*settled.warnings, *losses(text)]:
            print(f"      warning: {warning}", flush=True)
        gate = make_gate(source.captioned, generator, work.data, config, earlier)
        target, count = storage.join(work.data, "rows"), len(settled.deal)
        with watched(rows_written(target, count, ("Draw",))):
            draw(plan, target, generator, gate.uri, work.licences, config)
        checkpoint = storage.join(work.data, "checkpoint")
        ids = Ids(plan, ("plan_id",)), Ids(target, ("plan_id",))
        ray.get(ray.remote(require_each_once).remote(*ids, [checkpoint]))
        counts, median_distance = _counted(target, count)
        write_gate_page(work.data, source.captioned, gate)
        return work.commit(
            Rows.count(counts),
            count,
            temporary=["checkpoint/"],
            cpus=config.actors * config.cpus_per_actor,
            gpus=config.actors * config.gpus_per_actor,
            cells={cell.name: cell.asked for cell in settled.cells if cell.asked},
            plan=[asdict(cell) for cell in settled.cells],
            warnings=settled.warnings,
            captions_left_out=settled.left_out,
            text={name: part.model_dump() for name, part in text.items()},
            gate=gate.summary(),
            median_nearest_distance=median_distance,
        )


def preview(config: SynthesisConfig, count: int) -> str:
    """The plan's cells and its first requests, in words; starts neither Ray nor a generator.

    Raises:
        FileNotFoundError, ValueError: as `run`.
    """
    _, _, source = _source(config)
    return in_words(*planned_here(source, config, count))


def _source(config: SynthesisConfig) -> tuple[Result, Result, Drawable]:
    """The generator, its training rows, and both as plans take them."""
    generator = manifest.read(config.generator, "train")
    rows = manifest.read(config.rows, "caption")
    config.require_commercial(of_result(generator.uri, generator.manifest.licences))
    if generator.manifest.inputs["rows"] != rows.manifest.key:
        raise ValueError(
            f"rows={config.rows}: the generator was trained on other rows (key {generator.manifest.inputs['rows']}, "
            f"these are {rows.manifest.key}); its prompts and its test split would not be its own"
        )
    drawable = Drawable(generator, rows.row_files(), tuple(rows.manifest.config["metadata"]), _sizes(config, generator))
    return generator, rows, drawable


def _counted(rows: str, count: int) -> tuple[Tally, float]:
    """Statuses of `count` rows, and the median of their nearest distances, of which each takes four bytes."""
    counts, distances, end = Tally(), np.empty(count, np.float32), 0
    for batch in batches(rows, ["status", "reason", "nearest_distance"]):
        add(counts, batch.select(["status", "reason"]))
        distances[end : end + len(batch)] = batch["nearest_distance"].to_numpy(zero_copy_only=False)
        end += len(batch)
    return counts, float(np.median(distances, overwrite_input=True))


def _sizes(config: SynthesisConfig, generator: Result) -> tuple[int, ...]:
    """Of the images to draw, in px.

    Raises:
        ValueError: the generator draws no such size.
    """
    name, own = generator.manifest.config["family"], image_size(generator)
    if config.sizes and not family(name).any_size:
        raise ValueError(f"sizes={list(config.sizes)}: a generator of family {name} draws {own} px alone; leave it out")
    if wrong := [size for size in config.sizes if size < 32 or size % 32]:
        raise ValueError(f"sizes={list(config.sizes)}: expected multiples of 32 px, got {wrong}")
    return config.sizes or (own,)
