"""Every stage that writes a result, small enough for a round of seconds: its command and the results that it reads."""

import sys
from dataclasses import dataclass, field
from typing import Any

MODEL = "{image_size: 32, width: 32, blocks: 1, stem_width: 8}"
NETWORK = "{name: test_resnet, learning_rate: 6.0e-3}"
SEEN = {"rows": "ingest", "captioner": "captioner"}
LOOP = {"loop.checkpoint_every": "4", "loop.log_every": "2", "loop.workers": "2"}


@dataclass(frozen=True)
class Stage:
    """`dermray <command> --config <preset>` with settings; its result lies in a directory of its own name."""

    name: str
    preset: str
    settings: dict[str, str]
    reads: dict[str, str] = field(default_factory=dict)  # a field of the config -> the stage whose result it names
    engine: bool = False  # has a process of an engine, which may be killed

    def command(self, inputs: str, output: str) -> list[str]:
        """As a user would type it, but for the stand-in of an engine.

        Args:
            inputs: where the results of other stages lie. output: where this one's goes.
        """
        module = "tests.soak.job" if self.engine else "dermray.cli"
        read = {name: f"{inputs}/{other}" for name, other in self.reads.items()}
        words = [f"{name}={value}" for name, value in (self.settings | read | {"output": output}).items()]
        return [sys.executable, "-m", module, self.name, "--config", self.preset, *words]


def _training(steps: int, batch: int, **more: Any) -> dict[str, str]:
    return LOOP | {"loop.steps": str(steps), "loop.batch_size": str(batch)} | {k: str(v) for k, v in more.items()}


STAGES = {
    stage.name: stage
    for stage in (  # each reads only what stands before it
        Stage("ingest", "ingest/phantom", {
            "sources.0.count": "160", "sources.0.size": "32", "sources.0.bytes_per_block": "65536",
            "sources.0.duplicates": "0.05", "sources.0.broken": "0.05",
            "fractions": "{train: 0.5, val: 0.1, test: 0.4}",
        }),
        Stage("captioner", "captioner/nano", _training(12, 8, phantoms=64)),
        Stage("caption", "caption/nano", {"rows_per_block": "16"}, SEEN, engine=True),
        Stage("instruct", "instruct/nano", {"rows_per_block": "16"}, SEEN, engine=True),
        Stage("vqa", "vqa/nano", {
            "rows_per_block": "16", "resamples": "100",
        }, {"rows": "ingest", "captioners.0.captioner": "captioner"}, engine=True),
        Stage("tune-vlm", "tune-vlm/nano", _training(12, 8), {"rows": "ingest", "base": "captioner"}),
        Stage("train", "train/pixel_dermdit_nano", _training(16, 8, model=MODEL), {"rows": "caption"}),
        Stage("generate", "generate/nano", {
            "count": "48", "batch_size": "8", "sampling_steps": "12",
            "gate": "{training_steps: 10, planted: 2, calibration_images: 30}",
        }, {"rows": "caption", "generator": "train"}),
        Stage("evaluate", "evaluate/nano", {"judge_phantoms": "100", "judge_steps": "10", "pairs": "10"},
              {"rows": "caption", "synthetic": "generate"}),
        Stage("sweep", "sweep/nano", {
            "real_images": "12", "seeds": "2", "training": "{steps: 10, schedule: one_cycle}", "resamples": "20",
            "backbones": "[" + NETWORK + "]",
        }, {"rows": "caption", "synthetic": "generate"}),
        Stage("classify", "classify/nano", {"training.steps": "40", "training.save_seconds": "0"}, {"rows": "ingest"}),
        Stage("predict", "predict/default", {}, {"rows": "ingest", "classifier": "classify"}),
    )
}  # fmt: skip
