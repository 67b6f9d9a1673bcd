"""The stages in order, each skipped where its manifest already answers; then the report."""

import importlib
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from dermray import report, storage
from dermray.config import Config, ConfigError, validate
from dermray.manifest import Result
from dermray.memory import PeakMemory

# Where each stage's config and `run` are. Imported when asked for: together they load most of scientific Python.
STAGES = {
    "ingest": "dermray.datasets.ingest:IngestConfig",
    "captioner": "dermray.vlm.run:CaptionerConfig",
    "caption": "dermray.captioning.run:CaptionConfig",
    "train": "dermray.training.run:TrainConfig",
    "generate": "dermray.synthesis.run:SynthesisConfig",
    "evaluate": "dermray.evaluation.run:EvaluationConfig",
    "sweep": "dermray.classification.run:SweepConfig",
}
# What is run by itself, beside the stages of a pipeline.
COMMANDS = STAGES | {
    "audit-captions": "dermray.captioning.audit.run:AuditConfig",
    "audit-classifier": "dermray.classification.audit.run:AuditClassifierConfig",
    "classify": "dermray.classification.classify:ClassifyConfig",
    "compare-captioners": "dermray.captioning.comparison.run:CompareConfig",
    "instruct": "dermray.vlm.instruct.run:InstructConfig",
    "predict": "dermray.classification.predict:PredictConfig",
    "reader-study analyse": "dermray.reader_study.analyse:AnalyseConfig",
    "reader-study build": "dermray.reader_study.build:BuildConfig",
    "sweep-splits": "dermray.classification.several_splits:SeveralSplitsConfig",
    "tune-vlm": "dermray.vlm.tuning.run:TuneConfig",
    "vqa": "dermray.vlm.vqa.run:VqaConfig",
}
# Which field of a stage's config is filled with which stage's output.
INPUTS = {
    "caption": {"rows": "ingest", "captioner": "captioner"},
    "train": {"rows": "caption"},
    "generate": {"generator": "train", "rows": "caption"},
    "evaluate": {"rows": "caption", "synthetic": "generate"},
    "sweep": {"rows": "caption", "synthetic": "generate"},
}


class PipelineConfig(Config):
    """One section per stage; outputs and inputs are filled in below `output`."""

    output: str
    title: str = "dermray run"
    notes: list[str] = Field([], description="printed at the top of the report")
    ingest: dict[str, Any]
    captioner: dict[str, Any] | None = Field(None, description="left out where caption.captioner names a model")
    caption: dict[str, Any] = {}
    train: dict[str, Any]
    generate: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}
    sweep: dict[str, Any] = {}


def command(name: str) -> tuple[type[BaseModel], Callable[[Any], Result]]:
    """A stage's config class and what runs it."""
    module, _, config = COMMANDS[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, config), found.run


def stage_configs(config: PipelineConfig) -> dict[str, BaseModel]:
    """Every stage's typed config, all checked before anything starts.

    Raises:
        ConfigError: a wrong section, a captioner both trained and named, two stages with one output, or fewer images
            to draw than the sweep will ask for.
    """
    named = config.caption.keys() & {"captioner", "remote"}
    if (config.captioner is None) == (not named):
        raise ConfigError(
            "give either a captioner section (train one), or caption.captioner or caption.remote (a model), not both "
            "or neither"
        )
    run, configs = storage.normalise(config.output), {}
    for name in STAGES:
        section = getattr(config, name)
        if section is None:
            continue
        filled = {field: storage.join(run, stage) for field, stage in INPUTS.get(name, {}).items()}
        if name == "caption" and named:
            del filled["captioner"]
        data = {"output": storage.join(run, name)} | filled | section
        configs[name] = validate(command(name)[0], data, where=name)
    outputs = {storage.normalise(stage.output): name for name, stage in configs.items()}  # type: ignore[attr-defined]  # each has one
    if shared := [name for name in configs if name not in outputs.values()]:
        raise ConfigError(f"{shared[0]}.output: another stage's too; give each stage an output of its own")
    drawn, sweep = configs["generate"].images, configs["sweep"]  # type: ignore[attr-defined]  # SynthesisConfig
    # a plan that fills up says how many only when it has seen the rows
    if drawn is not None and drawn < (needed := sweep.synthetic_images) and "synthetic" not in config.sweep:  # type: ignore[attr-defined]  # SweepConfig
        few = max(sweep.real_counts)  # type: ignore[attr-defined]  # see above
        raise ConfigError(f"generate.count={drawn}: sweep.real_images={few} needs {needed} synthetic images or more")
    return configs


def run(config: PipelineConfig) -> dict[str, Any]:
    """All stages, then `report.html` and `summary.json` in the run's directory.

    Returns:
        The summary.
    """
    configs = stage_configs(config)
    run_directory = storage.normalise(config.output)
    storage.make_directory(run_directory)
    results: dict[str, Result] = {}
    with PeakMemory(run_directory) as memory:
        for number, (name, settings) in enumerate(configs.items(), 1):
            started = time.time()
            print(f"[{number}/{len(configs)}] {name} ...", flush=True)
            results[name] = command(name)[1](settings)
            print(f"[{number}/{len(configs)}] {name}: {_outcome(results[name], started)}", flush=True)
    summary = report.summarise(results, memory)
    report.write(run_directory, results, summary, config.title, config.notes)
    return summary


def _outcome(result: Result, started: float) -> str:
    rows, took = result.manifest.rows, time.time() - started
    state = f"{took:.0f} s" if result.manifest.started >= started - 1 else "already done"
    lost = "".join(f", {n} {word}" for word, n in (("rejected", rows.rejected), ("failed", rows.failed)) if n)
    return f"{rows.ok} of {rows.rows_in} rows ok{lost}; {state}"
