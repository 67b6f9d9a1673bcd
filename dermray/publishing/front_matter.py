"""The head of a card, which `datasets` and the Hugging Face hub read: configs, splits, features, licences, tags."""

from typing import Any

import pyarrow as pa
import yaml

from dermray.publishing.facts import Facts
from dermray.publishing.features import IMAGE, column, named, shown
from dermray.publishing.licences import LICENCES

SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))


def front_matter(facts: Facts) -> str:
    """YAML, without the lines around it."""
    files = [{"split": split, "path": facts.pattern.format(split=split)} for split in facts.splits]
    said: dict[str, Any] = {"pretty_name": facts.title, **_licence(facts)}
    said |= {
        "tags": _tags(facts),
        "task_categories": _tasks(facts),
        "size_categories": [next((name for name, most in SIZES if facts.rows < most), "10M<n<100M")],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {
            "features": features(facts),
            "splits": [
                {"name": split, "num_bytes": facts.wrote.sizes[split], "num_examples": number}
                for split, number in facts.splits.items()
            ],
        },
    }
    if facts.spoken or "caption" in facts.columns:
        said |= {"language": ["en"]}
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=1000)


def _tasks(facts: Facts) -> list[str]:
    """The hub's names."""
    told = {
        "visual-question-answering": facts.spoken,
        "image-text-to-text": facts.spoken,
        "image-classification": facts.config.format not in ("llava", "sharegpt"),
        "text-to-image": "caption" in facts.columns,
    }
    return [name for name, holds in told.items() if holds]


def features(facts: Facts) -> list[dict[str, Any]]:
    """As `datasets` hands them to a user of this format."""
    if facts.config.format != "webdataset":
        return [named(f.name, f.type) for f in shown(facts.config.format, facts.columns)]
    columns = [column(name) for name in facts.columns]
    parts = [pa.field(ending, IMAGE) for ending in sorted(facts.wrote.endings)]
    parts.append(pa.field("json", pa.struct([_read_as_json(f) for f in columns])))
    if "caption" in facts.columns:
        parts.append(pa.field("txt", pa.string()))
    return [named(f.name, f.type) for f in (*parts, pa.field("__key__", pa.string()), pa.field("__url__", pa.string()))]


def _read_as_json(field: pa.Field) -> pa.Field:
    """JSON has one kind of whole number and one of others."""
    kind = field.type
    wide = pa.int64() if pa.types.is_integer(kind) else pa.float64() if pa.types.is_floating(kind) else kind
    return field.with_type(wide)


def _licence(facts: Facts) -> dict[str, Any]:
    """The hub's names, where it has names for all."""
    hub = [LICENCES[name].hub if name in LICENCES else None for name in facts.licences]
    if all(hub):
        return {"license": hub[0] if len(hub) == 1 else hub}
    return {"license": "other", "license_name": "-and-".join(facts.licences).lower(), "license_link": "README.md"}


def _tags(facts: Facts) -> list[str]:
    kinds = [name for (name,), number in sorted(facts.survey.by("modality").items(), key=str) if name and number]
    synthetic = ["synthetic"] if facts.synthetic else []
    return ["dermatology", "skin-lesions", "medical", *kinds, *synthetic, "croissant", "dermray"]
