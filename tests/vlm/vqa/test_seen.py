"""A captioner is not judged by what it was tuned on."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from dermray import cluster, manifest
from dermray.config import validate
from dermray.manifest import Rows
from dermray.vlm.vqa.run import run
from dermray.vlm.vqa.seen import learned_of
from dermray.vlm.vqa.settings import VqaConfig
from tests.vlm.vqa.results import MadeConfig, made, phantoms


def tuned_on(directory: Path, ids: list[str], stage: str = "tune-vlm") -> str:
    """As tune-vlm leaves it: a shard of conversations, two of each image, and a model (without weights)."""
    names = [f"{sample}/{number}" for sample in ids for number in range(2)]
    shard = pa.table({"image": [b"bytes"] * len(names), "sample_id": names, "tokens": [1] * len(names)})
    with manifest.work(stage, str(directory), MadeConfig(output=str(directory)), {}) as work:
        place = Path(work.data, "conversations")
        place.mkdir(parents=True)
        with pa.ipc.new_file(place / "a.arrow", shard.schema) as writer:
            writer.write_table(shard, max_chunksize=3)
        (place / "index.json").write_text(json.dumps({"shards": ["a.arrow"]}))
        Path(work.data, "model").mkdir()
        Path(work.data, "model", "config.json").write_text("{}")
        work.commit(Rows(rows_in=len(names), ok=len(names), rejected=0, failed=0), len(names))
    return str(directory)


def test_images_are_counted_once(tmp_path: Path) -> None:
    ids = [f"{number:02x}" * 32 for number in range(8)]
    tuned = manifest.read(tuned_on(tmp_path / "tuned", ids[:5]))
    assert learned_of(tuned, pa.array(ids[3:])) == 2
    assert learned_of(tuned, pa.array(ids[5:])) == 0
    assert learned_of(manifest.read(tuned_on(tmp_path / "other", ids, "captioner")), pa.array(ids)) == 0


def test_held_out_images_that_a_captioner_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = phantoms(4)
    source = made(tmp_path / "ingest", "ingest", rows)

    def begin(*where: str) -> None:
        raise InterruptedError("Ray was asked for")

    monkeypatch.setattr(cluster, "connect", begin)
    monkeypatch.setattr("dermray.captioning.choose.prepared", lambda *given: None)

    def ask(learned: list[str], name: str, split: str) -> None:
        one = {"name": "after", "captioner": tuned_on(tmp_path / f"{name}-{split}", learned)}
        given = {"output": f"{tmp_path}/vqa-{name}-{split}", "rows": source, "captioners": [one], "split": split}
        run(validate(VqaConfig, given))

    held_out, train = [row["sample_id"] for row in rows[:4]], [rows[4]["sample_id"]]
    with pytest.raises(ValueError, match=r"after .* was tuned on 3 of the 4 images .*split=all"):
        ask(held_out[:3] + train, "leaking", "test")
    for name, learned, split in (("leaking", held_out[:3] + train, "all"), ("clean", train, "test")):
        with pytest.raises(InterruptedError):
            ask(learned, name, split)
