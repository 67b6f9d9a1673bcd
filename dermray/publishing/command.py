"""What `dermray export` does with a result, by its stage."""

import json
from pathlib import Path
from typing import Any

from dermray import manifest
from dermray.config import ConfigError, load
from dermray.generators.base import family
from dermray.manifest import Result
from dermray.publishing.run import export as export_rows
from dermray.publishing.settings import PublishConfig


def export(result: str, place: str, form: str | None, config: Path | None, overrides: list[str]) -> str:
    """Rows as a data set, a generator's LoRA as a file, a tuned captioner as a directory; what to tell of it.

    Raises:
        ConfigError, ValueError, OSError: as `run.export` does; no LoRA, or a file that is there.
    """
    found = manifest.read(result)
    if found.manifest.stage == "tune-vlm":
        if form not in (None, "merged") or config or overrides:
            raise ConfigError(f"{result}: a tuned model is exported whole, --format merged; settings are for rows")
        from dermray.vlm.tuning import merged

        return merged.export(found, place)
    if form == "merged":
        raise ConfigError(f"{result}: result of stage {found.manifest.stage!r}; --format merged is for tune-vlm's")
    if found.manifest.stage == "train":
        if form or config or overrides:
            raise ConfigError(f"{result}: a trained LoRA is one file; --format and settings are for rows")
        return _export_lora(found, Path(place))
    given = [f"result={json.dumps(result)}", f"output={json.dumps(place)}", *([f"format={form}"] if form else [])]
    return str(export_rows(load(PublishConfig, config, [*given, *overrides])))


def _export_lora(trained: Result, file: Path) -> str:
    from dermray.training.run import load_generator

    name = trained.manifest.config["family"]
    if not hasattr(family(name), "save_kohya"):
        raise ValueError(
            f"{trained.uri}: family {name} has no LoRA adapter to export; its model directory is {trained.data}/model"
        )
    if file.exists():
        raise ValueError(f"{file}: exists; choose another name")
    if not file.parent.is_dir():
        raise ValueError(f"{file}: no directory {file.parent}; make it, or choose a local one that is there")
    generator: Any = load_generator(trained)
    generator.save_kohya(file)
    return f"{file}: {file.stat().st_size / 1e6:.1f} MB"
