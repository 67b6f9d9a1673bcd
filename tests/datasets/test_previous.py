"""An ingest that goes on from an earlier one, as a user runs it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.datasets import ingest


def splits(place: Path, sources: list[dict[str, Any]], **config: Any) -> tuple[Any, dict[str, str]]:
    result = ingest.run(validate(ingest.IngestConfig, {"output": str(place), "sources": sources, **config}))
    table = pq.read_table(f"{result.data}/rows", columns=["source_id", "split", "status"])
    return result, {row["source_id"]: row["split"] for row in table.to_pylist() if row["status"] == "ok"}


@pytest.mark.slow
def test_a_source_more_leaves_the_images_of_before_in_their_splits(local_ray: None, tmp_path: Path) -> None:
    few: dict[str, Any] = {"source": "phantom", "count": 40, "size": 32, "broken": 0.0, "duplicates": 0.0}
    more = {**few, "count": 90}
    _, before = splits(tmp_path / "first", [few])
    result, after = splits(tmp_path / "second", [more], previous=str(tmp_path / "first"))
    assert before.items() <= after.items() and len(after) == 90 and set(after.values()) == {"train", "val", "test"}
    _, alone = splits(tmp_path / "alone", [more])
    assert not before.items() <= alone.items(), "without `previous` some of them move"
    assert result.manifest.inputs.keys() == {"previous"}


def test_what_is_no_ingest_result_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; run the ingest stage first"):
        splits(tmp_path / "out", [{"source": "phantom", "count": 40}], previous=str(tmp_path / "nothing"))
