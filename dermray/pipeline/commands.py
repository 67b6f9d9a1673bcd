"""The stages, by the names that the command line has for them."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from dermray.manifest import Result

# Where each stage's config and `run` are. Imported when asked for: together they load most of scientific Python.
COMMANDS = {
    "ingest": "dermray.datasets.ingest:IngestConfig",
    "captioner": "dermray.vlm.run:CaptionerConfig",
    "caption": "dermray.captioning.run:CaptionConfig",
    "train": "dermray.training.run:TrainConfig",
    "generate": "dermray.synthesis.run:SynthesisConfig",
    "evaluate": "dermray.evaluation.run:EvaluationConfig",
    "sweep": "dermray.classification.run:SweepConfig",
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


def command(name: str) -> tuple[type[BaseModel], Callable[[Any], Result]]:
    """A stage's config class and what runs it."""
    module = module_of(name)
    return getattr(module, COMMANDS[name].partition(":")[2]), module.run


def module_of(name: str) -> ModuleType:
    """The module of a stage: it has its config class, `run(config)`, and perhaps `report_block`."""
    return importlib.import_module(COMMANDS[name].partition(":")[0])
