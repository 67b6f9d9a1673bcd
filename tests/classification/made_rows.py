"""Results of stages, written without running these: phantoms with ids, groups and splits."""

from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dermray import storage
from dermray.datasets.phantom import LESIONS_PER_PATIENT, SourceConfig, phantom_row
from dermray.manifest import Manifest, Result, Rows
from dermray.page_index import write_options
from dermray.records import IMAGES, SYNTHETIC, conform, sample_id

SIDE = 32  # px
SPLITS = ("train", "train", "test", "train", "val")  # of patients, one after the other


@cache
def _drawn(index: int, seed: int) -> dict[str, Any]:
    return phantom_row(index, SourceConfig(count=10**6, size=SIDE, seed=seed, broken=0, duplicates=0))


def phantoms(count: int, seed: int = 0, first: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """`count` rows from number `first` of a population, some columns changed in all of them."""
    rows = []
    for index in range(first, first + count):
        row = _drawn(index, seed)
        patient = index // LESIONS_PER_PATIENT
        rows.append(
            row
            | {
                "sample_id": sample_id(row["image"]), "width": SIDE, "height": SIDE, "leak_group": f"g{seed}-{patient}",
                "split": SPLITS[patient % len(SPLITS)], "status": "ok", "origin": "real",
            }
            | changes
        )  # fmt: skip
    return rows


def result(
    uri: str, stage: str, rows: list[dict[str, Any]], inputs: dict[str, str] | None = None, key: str = ""
) -> Result:
    """A finished result with these rows in two files.

    Args:
        key: of its manifest; its name if not given.
    """
    storage.make_directory(f"{uri}/data/rows")
    schema = IMAGES if stage == "ingest" else SYNTHETIC
    for number in range(2):
        table: pa.Table = conform(rows[number::2], schema)
        pq.write_table(table, f"{uri}/data/rows/{number}.parquet", **write_options(schema))
    counts = Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0)
    made = Manifest(
        stage=stage, key=key or uri.rpartition("/")[2], config={}, inputs=inputs or {}, data="data", rows=counts,
        versions={}, started=0, seconds=0, cpus=1, gpus=0,
        licences=sorted({row["licence"] for row in rows if row.get("licence")}),
    )  # fmt: skip
    storage.write_bytes(f"{uri}/manifest.json", made.model_dump_json().encode())
    return Result(uri, made)


def generated(uri: str, rows: list[dict[str, Any]], trained_on: str, key: str = "") -> Result:
    """Of the generate stage.

    Args:
        trained_on: key of the rows that its generator saw.
    """
    return result(uri, "generate", rows, {"rows": trained_on, "generator": "g"}, key)
