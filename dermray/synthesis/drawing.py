"""Actors that draw the requests of a plan, and compare what they drew with the training images."""

from typing import Any

import numpy as np
import pyarrow as pa

from dermray import storage
from dermray.captioning.reading import parse
from dermray.captioning.resume import resumable
from dermray.counters import count_rows
from dermray.generators.base import Request
from dermray.manifest import Result
from dermray.page_index import write_options
from dermray.provenance import text
from dermray.records import SYNTHETIC, conform, sample_id
from dermray.synthesis.gate.gate import Gate, Seen
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.run import load_generator


def draw(plan: str, target: str, generator: Result, gate: str, licences: list[str], config: SynthesisConfig) -> None:
    """Every request of the plan into files of rows; one that was cut short goes on with what is missing.

    Args:
        plan, target: URIs of directories. gate: that of the calibrated memorisation gate.
        licences: of all that it was made from.
    """
    import ray.data

    system, path = storage.filesystem(plan)
    to_system, to_path = storage.filesystem(target)
    with resumable("plan_id", storage.join(target.removesuffix("/rows"), "checkpoint")):
        # A block a file: cut smaller, as Ray would, they would end in batches that are not full.
        files = len(storage.list_files(plan, ".parquet"))
        requests = ray.data.read_parquet(path, filesystem=system, override_num_blocks=files)
        drawn = requests.repartition(target_num_rows_per_block=config.batch_size).map_batches(
            Draw,
            fn_constructor_args=[generator, gate, licences, config],
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.actors),
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        )
        drawn.write_parquet(to_path, filesystem=to_system, mode="append", **write_options(SYNTHETIC))


class Draw:
    """An actor that holds the generator, and maps the gate's index of the training images into memory."""

    def __init__(self, generator: Result, gate: str, licences: list[str], config: SynthesisConfig) -> None:
        self.config, self.result = config, generator
        self.licence = " AND ".join(sorted(set(licences))) or "unknown"
        self.generator = load_generator(generator)
        # Forward passes of equally many rows: an image's bits do not depend on what else its block holds.
        self.generator.rows = min(config.batch_size, config.images or config.batch_size)
        if config.gpus_per_actor:
            self.generator.to("cuda")
        self.gate = Gate(gate, "cuda" if config.gpus_per_actor else "cpu")

    def __call__(self, plan: pa.Table) -> pa.Table:
        """Rows of these requests."""
        by_size: dict[int, list[dict[str, Any]]] = {}
        for request in plan.to_pylist():
            by_size.setdefault(request.pop("image_size"), []).append(request)
        made = conform([row for size, requests in by_size.items() for row in self._drawn(requests, size)], SYNTHETIC)
        count_rows("generate", made)
        return made

    def _drawn(self, requests: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
        """Rows of one size."""
        images = self.generator.sample(
            [Request(r["prompt"], r["seed"], size) for r in requests],
            self.config.guidance_scale,
            self.config.sampling_steps,
        )
        pixels = images.permute(0, 2, 3, 1).numpy()
        return [self.row(*drawn) for drawn in zip(requests, pixels, self.gate.seen(images), strict=True)]

    def row(self, request: dict[str, Any], image: np.ndarray, seen: Seen) -> dict[str, Any]:
        """One synthetic row; rejected where the gate calls it a copy."""
        family, generator = self.result.manifest.config["family"], self.result.manifest.key
        png = text.png(image, text.said(
            family=family, generator=generator, licence=self.licence, prompt=request["prompt"], seed=request["seed"],
            guidance_scale=self.config.guidance_scale, steps=self.config.sampling_steps,
        ))  # fmt: skip
        said = parse(request["prompt"]).attributes
        copied = self.gate.reason(seen)
        return {name: request[name] for name in request} | {
            "sample_id": sample_id(png),
            "image": png,
            "width": image.shape[1],
            "height": image.shape[0],
            "source": "synthetic",
            "source_id": f"{self.result.manifest.key}-{request['plan_id']}",
            "licence": self.licence,
            "origin": "synthetic",
            "split": "train",
            "status": "rejected" if copied else "ok",
            "reason": copied,
            "caption": request["prompt"],
            "said_asymmetry": said.asymmetry,
            "said_border_irregular": said.border_irregular,
            "said_colours": list(said.colours),
            "said_skin_tone": said.skin_tone,
            "family": family,
            "generator": generator,
            "guidance_scale": self.config.guidance_scale,
            "sampling_steps": self.config.sampling_steps,
            **self.gate.columns(seen),
        }
