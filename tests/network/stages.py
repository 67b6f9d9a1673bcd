"""Stages as their commands, with a stand-in for the captioner. A line when each is done.

python -m tests.network.stages RUN MODEL ROWS SECONDS STAGE[:NAME]...

MODEL is a directory in the place of a captioner's. It is one for all runs that must be the same: keys of results, which
stand in images, come from its path too.

SECONDS go by for each caption; each of two engines writes 4 at a time.
"""

import sys

from benchmarks.stand_in_engine import StandIn
from dermray import cli, storage
from dermray.captioning import choose

BLOCK = 24  # rows that an engine has at a time; two of them are under way
DRAWN = 60  # images


def settings(run: str, model: str, rows: int) -> dict[str, list[str]]:
    """Of each stage's command line."""
    source = f"{{source: phantom, count: {rows}, size: 32, broken: 0.0, duplicates: 0.0}}"
    network, gate = "{image_size: 32, width: 32, blocks: 1, stem_width: 8}", "{training_steps: 10, planted: 2}"
    trial = "{steps: 10}", "[{name: test_resnet, learning_rate: 6.0e-3}]"
    loop = "loop.steps=20", "loop.batch_size=12", "loop.workers=2", "loop.cpus_per_worker=3", "loop.checkpoint_every=5"
    return {
        "ingest": ["ingest/phantom", f"sources=[{source}]"],
        "caption": ["caption/nano", f"rows={run}/ingest", f"captioner={model}", f"rows_per_block={BLOCK}"],
        "train": ["train/pixel_dermdit_nano", f"rows={run}/caption", f"model={network}", *loop],
        "generate": ["generate/nano", f"rows={run}/caption", f"generator={run}/train", f"count={DRAWN}", "actors=2",
                     "cpus_per_actor=3", "batch_size=6", "sampling_steps=4", f"gate={gate}"],
        "evaluate": ["evaluate/nano", f"rows={run}/caption", f"synthetic={run}/generate", "judge_steps=10", "pairs=10"],
        "sweep": ["sweep/nano", f"rows={run}/caption", f"synthetic={run}/generate", "real_images=16", "seeds=2",
                  f"training={trial[0]}", f"backbones={trial[1]}", "resamples=20"],
    }  # fmt: skip


def main(run: str, model: str, rows: int, seconds: float, stages: list[str]) -> None:
    """One after the other."""
    choose.prepared = StandIn(seconds, concurrency=4, replicas=2, cpus=3).prepared  # type: ignore[assignment]
    storage.write_bytes(f"{model}/config.json", b"{}")
    for named in stages:
        stage, _, name = named.partition(":")
        preset, *given = settings(run, model, rows)[stage]
        cli.main([stage, "--config", preset, f"output={run}/{name or stage}", *given])
        print(f"done: {named}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
