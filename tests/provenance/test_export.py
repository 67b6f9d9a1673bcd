"""Images of a result on their way out: all that are ok, with text, signed where somebody signs, and a table."""

import csv
import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermray import storage
from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode
from dermray.provenance import export, reading, text
from dermray.provenance.export import Exported
from dermray.provenance.settings import ExportConfig
from dermray.storage import OutputTaken
from tests.conftest import call_cli
from tests.provenance.certificates import Signed, signer
from tests.provenance.results import files, generated, pixels_of, row

ROWS = [row(0), row(1), row(2, "rejected"), row(3), row(4, with_text=False)]
OK = [one for one in ROWS if one["status"] == "ok"]


def exported(images: str, output: str, **more: Any) -> Exported:
    return export.export(validate(ExportConfig, {"images": images, "output": output} | more))


def table_of(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(storage.read_bytes(f"{output}/metadata.csv").decode())))


def test_signed_files_and_their_table(place: str, signed_by: Signed) -> None:
    generated(f"{place}/generate", ROWS, per_file=2)
    done = exported(f"{place}/generate", f"{place}/out", provenance=signed_by.config)
    assert str(done) == f"{place}/out/metadata.csv: 4 images, signed by es256"
    table = table_of(f"{place}/out")
    assert [line["sample_id"] for line in table] == [one["sample_id"] for one in OK]
    assert len(storage.list_files(f"{place}/out/images")) == 4
    for line, one in zip(table, OK, strict=True):
        data = storage.read_bytes(f"{place}/out/{line['file']}")
        assert hashlib.sha256(data).hexdigest() == line["file_sha256"]
        assert np.array_equal(np.asarray(decode(data)), pixels_of(one["seed"]))
        found = reading.read(data, Path(signed_by.authority).read_text())
        assert found.state == "Trusted" and found.text["prompt"] == line["prompt"] == one["prompt"]
        assert found.text["seed"] == line["seed"] == str(one["seed"])
        assert found.text["generator"] == line["generator"] and found.text["licence"] == line["licence"]
        assert line["malignant"] == str(one["malignant"]) and line["fitzpatrick"] == ""


def test_without_a_signer_files_are_the_rows_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)  # the extra is not needed
    generated(f"{tmp_path}/generate", ROWS)
    done = exported(f"{tmp_path}/generate", f"{tmp_path}/out")
    assert str(done).endswith(": 4 images, with text and without a signature")
    for one in OK:
        data = (tmp_path / "out" / "images" / f"{one['sample_id']}.png").read_bytes()
        assert data == one["image"] or (one["seed"] == 4 and text.read(data)["seed"] == "4"), "rows of earlier versions"


def test_a_killed_export_goes_on(tmp_path: Path, signed_by: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    generated(f"{tmp_path}/generate", ROWS, per_file=1)
    write, written = storage.write_bytes, list[str]()

    def killed(uri: str, data: bytes) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(uri)
        write(uri, data)

    config = {"provenance": signed_by.config, "threads": 1}
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            exported(f"{tmp_path}/generate", f"{tmp_path}/out", **config)
    before = files(tmp_path / "out")
    left = tmp_path / "out/images/x.png.0.partial"
    left.touch()  # by a write that kill -9 cut short
    assert len(written) == 2 and "metadata.csv" not in before
    exported(f"{tmp_path}/generate", f"{tmp_path}/out", **config)
    after = files(tmp_path / "out")
    assert before.items() <= after.items(), "what was signed is not signed again"
    assert not left.exists()
    for line in table_of(f"{tmp_path}/out"):
        assert hashlib.sha256(after[line["file"]]).hexdigest() == line["file_sha256"]
    exported(f"{tmp_path}/generate", f"{tmp_path}/out", **config)
    assert files(tmp_path / "out") == after, "a finished one is left alone"


def test_one_export_at_a_time(tmp_path: Path, signed_by: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    generated(f"{tmp_path}/generate", ROWS)
    write, refused = storage.write_bytes, list[str]()

    def another_begins(uri: str, data: bytes) -> None:
        if not refused:
            with pytest.raises(OutputTaken, match="another run on"):
                exported(f"{tmp_path}/generate", f"{tmp_path}/out", **config)
            refused.append(uri)
        write(uri, data)

    config = {"provenance": signed_by.config, "threads": 1}
    monkeypatch.setattr(storage, "write_bytes", another_begins)
    exported(f"{tmp_path}/generate", f"{tmp_path}/out", **config)
    assert refused


def test_places_that_hold_something_else(tmp_path: Path, signed_by: Signed) -> None:
    images = generated(f"{tmp_path}/generate", ROWS).uri
    exported(images, f"{tmp_path}/out")
    with pytest.raises(ConfigError, match="holds an export of other images or by another signer"):
        exported(images, f"{tmp_path}/out", provenance=signed_by.config)
    exported(images, f"{tmp_path}/signed", provenance=signed_by.config)
    with pytest.raises(ConfigError, match="by another signer"):
        exported(images, f"{tmp_path}/signed", provenance=signer(tmp_path / "other").config)
    other = generated(f"{tmp_path}/other", [*ROWS, row(9)]).uri
    with pytest.raises(ConfigError, match=r"holds files that are no export; choose an empty or a new directory"):
        exported(images, other)
    assert files(tmp_path / "out") and not (Path(other) / "images").exists()


def test_what_is_no_result_of_generate(tmp_path: Path, signed_by: Signed) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; run the generate stage first"):
        exported(f"{tmp_path}/none", f"{tmp_path}/out")
    images = generated(f"{tmp_path}/generate", ROWS).uri
    config = signed_by.config | {"key": signer(tmp_path / "other").key}
    with pytest.raises(ValueError, match="not the key of the first certificate"):
        exported(images, f"{tmp_path}/out", provenance=config)
    assert not (tmp_path / "out").exists(), "nothing is written before the key is looked at"


def test_rows_that_are_lost_are_told(tmp_path: Path) -> None:
    result = generated(f"{tmp_path}/generate", ROWS, per_file=1)
    next(Path(result.data, "rows").glob("*0.parquet")).unlink()
    with pytest.raises(RuntimeError, match="3 images there, and its manifest says 4"):
        exported(result.uri, f"{tmp_path}/out")
    assert not (tmp_path / "out" / "metadata.csv").exists()


def test_the_command(tmp_path: Path, signed_by: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = generated(f"{tmp_path}/generate", ROWS).uri, f"{tmp_path}/out"
    given = [f"provenance.{name}={path}" for name, path in signed_by.config.items()]
    code, said, _ = call_cli(capsys, "export-images", images, out, *given)
    assert (code, said) == (0, f"{out}/metadata.csv: 4 images, signed by es256\n")
    (tmp_path / "signing.yaml").write_text(f"provenance:\n  certificate: {signed_by.certificate}\n  key: none.pem\n")
    code, _, error = call_cli(capsys, "export-images", images, f"{out}2", "--config", f"{tmp_path}/signing.yaml")
    assert code == 1 and "provenance.key=none.pem: no such file" in error
    code, _, error = call_cli(capsys, "export-images", images, f"{out}2", "provenance.key=x")
    assert code == 2 and "provenance.certificate: missing" in error


@pytest.mark.slow
def test_ingest_reads_what_was_exported(local_ray: None, tmp_path: Path, signed_by: Signed) -> None:
    from dermray.datasets import ingest
    from dermray.records import read_columns

    rows = [row(number) for number in range(8)]  # one of each label in each split, at least
    images = generated(f"{tmp_path}/generate", rows).uri
    exported(images, f"{tmp_path}/out", provenance=signed_by.config)
    source = {"source": "folder", "path": f"{tmp_path}/out", "table": "metadata.csv", "image_column": "file",
              "columns": {"source_id": "sample_id", "skin_tone": "skin_tone", "malignant": "malignant",
                          "licence": "licence"}}  # fmt: skip
    result = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/ingest", "sources": [source]}))
    assert result.manifest.rows.ok == 8, result.manifest.rows
    columns = ["image", "source_id", "skin_tone", "malignant", "licence", "modification"]
    found = {one["source_id"]: one for one in read_columns(result.row_files(), columns).to_pylist()}
    for one in rows:
        read = found[one["sample_id"]]
        assert np.array_equal(np.asarray(decode(read["image"])), pixels_of(one["seed"])) and not read["modification"]
        assert (read["skin_tone"], read["malignant"], read["licence"]) == ("B", one["malignant"], "CC0-1.0")
