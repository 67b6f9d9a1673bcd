"""What readers get tells nothing but pixels, and the key what everything is."""

import csv
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dermray import manifest, storage
from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode, square
from dermray.reader_study import build, key
from dermray.reader_study.settings import BuildConfig
from dermray.records import ENTITIES, sample_id
from tests.classification import made_rows
from tests.conftest import call_cli
from tests.reader_study import made


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_as_many_of_every_class_and_kind_in_a_random_order(place: str) -> None:
    """Locally and in S3."""
    study = made.built(place)
    told = made.opened(study)
    cells = [(image.truth, image.origin) for image in told.images]
    assert {cell: cells.count(cell) for cell in cells} == {(e, o): 2 for e in ENTITIES for o in ("AI", "original")}
    assert [image.image for image in told.images] == [f"{number:03d}.png" for number in range(1, 29)]
    assert cells != sorted(cells) and len({image.group for image in told.images}) == 28
    rows = {row["sample_id"]: row["image"] for row in made.originals(3) + made.synthetic(3)}
    found = made.files(study)
    for image in told.images:
        shown = found[f"images/{image.image}"]
        assert hashlib.sha256(shown).hexdigest() == image.sha256
        expected = square(decode(rows[image.sample_id]), made.SIDE).transpose(1, 2, 0)
        assert np.array_equal(pixels(shown), expected), "of the same side nothing is changed"
    assert study.manifest.rows.ok == 28 and storage.read_bytes(f"{study.data}/readers.zip")[:2] == b"PK"


def test_files_tell_nothing_but_pixels(tmp_path: Path) -> None:
    real, drawn = made.originals(3), made.synthetic(3)
    for row in real:  # photographs say more of themselves than generated images do
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[0x010F] = "ACME dermatoscope"
        picture = decode(row["image"]).resize((48, 40))
        picture.save(buffer, "JPEG", exif=exif, icc_profile=None, comment=b"patient 7")
        row |= {"image": buffer.getvalue(), "sample_id": sample_id(buffer.getvalue()), "width": 48, "height": 40}
    for row in drawn:
        buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
        text.add_text("prompt", "melanoma, synthetic")
        decode(row["image"]).save(buffer, "PNG", pnginfo=text)
        row |= {"image": buffer.getvalue(), "sample_id": sample_id(buffer.getvalue())}
    config = made.inputs(str(tmp_path), real, drawn) | {"originals_per_class": 3, "synthetic_per_class": 3}
    study = build.run(validate(BuildConfig, config | {"output": f"{tmp_path}/study", "side": 64}))
    found = made.files(study)
    pictures = {name: data for name, data in found.items() if name.startswith("images/")}
    assert len({len(data) for data in pictures.values()}) == 1, "sizes would tell smooth pictures from photographs"
    for data in pictures.values():
        kinds, place = set(), 8
        while place < len(data):
            kinds.add(data[place + 4 : place + 8])
            place += 12 + int.from_bytes(data[place : place + 4])
        assert kinds == {b"IHDR", b"IDAT", b"IEND"}
        assert pixels(data).shape == (64, 64, 3)
    told = made.opened(study).model_dump_json()
    assert "sample_id" in told
    for name, data in found.items():
        for row in real + drawn:
            assert row["sample_id"].encode() not in data and row["sample_id"][:8].encode() not in name.encode()
    folder = Path(study.data, "readers")
    assert {path.stat().st_mtime for path in folder.rglob("*") if path.is_file()} == {946_684_800}
    assert study.manifest.metrics["detail"] == made.SIDE, "photographs are reduced to what the generator can show"
    with zipfile.ZipFile(f"{study.data}/readers.zip") as archive:
        entries = archive.infolist()
        assert {(entry.date_time, entry.compress_type) for entry in entries} == {((2000, 1, 1, 0, 0, 0), 0)}
        assert {entry.filename.removeprefix("reader-study/"): archive.read(entry) for entry in entries} == found
    assert not any("key" in name or "sealed" in name for name in found)


def test_the_form(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    study = made.built(str(tmp_path))
    found, name = made.files(study), study.manifest.metrics["study"]
    header = ["study", "image", "entity", "entity_confidence", "origin", "origin_confidence"]
    lines = list(csv.reader(io.StringIO(found["answers.csv"].decode("utf-8-sig"))))
    expected = [[name, f"{number:03d}.png", "", "", "", ""] for number in range(1, 29)]
    assert lines == [header, *expected]
    book = load_workbook(io.BytesIO(found["answers.xlsx"]))
    sheet = book["answers"]
    assert [[cell or "" for cell in row] for row in sheet.iter_rows(values_only=True)] == lines
    lists = {str(rule.sqref): rule.formula1 for rule in sheet.data_validations.dataValidation if rule.type == "list"}
    words = {place: [row[0].value for row in book["words"][cells[6:]]] for place, cells in lists.items()}
    assert words == {"C2:C29": list(ENTITIES), "E2:E29": ["original", "AI"]}
    about = json.loads(found["study.json"])
    assert about["columns"] == header and about["images"] == [f"images/{number:03d}.png" for number in range(1, 29)]
    assert [question["column"] for question in about["questions"]] == ["entity", "origin"]
    assert about["questions"][1]["answers"][1]["word"] == "AI" and about["study"] == name
    page = found["instructions.html"].decode()
    assert page.count("<figure>") == 28 and "melanocytic nevus" in page and name in page
    assert "<strong>Which entity does it show?</strong>" in page


def test_the_commitment_fixes_the_key(tmp_path: Path) -> None:
    study = made.built(str(tmp_path))
    data = Path(study.data, "sealed", "key.json").read_bytes()
    commitment = hashlib.sha256(data).hexdigest()
    assert json.loads(made.files(study)["study.json"])["commitment"] == commitment
    assert study.manifest.metrics["commitment"] == commitment
    # the images alone do not give the hash away: two keys of the same study differ by a random number
    told = json.loads(data)
    other, _ = key.seal(key.Key.model_validate({name: value for name, value in told.items() if name != "nonce"}))
    assert len(told["nonce"]) == 64 and other != data


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    def shown(directory: str, **settings: Any) -> list[str]:
        (tmp_path / directory).mkdir()
        return [image.sample_id for image in made.opened(made.built(str(tmp_path / directory), **settings)).images]

    first = shown("a")
    assert shown("b") == first and shown("c", seed=1) != first
    study = made.built(str(tmp_path / "a"))
    assert study.manifest.key == made.reread(study).manifest.key, "its manifest answers"


def test_no_two_images_of_one_lesion_or_prompt(tmp_path: Path) -> None:
    """Lesions that lie in two classes are shown in the one that lacks images."""
    two = ("mel", "nv")
    real = made.originals(6, two)
    for number, row in enumerate(real):  # of nevi there are three lesions, one of which a melanoma shares
        row["leak_group"] = f"lesion {number // 2 % 3}" if row["entity"] == "nv" else f"own {number}"
    real[0]["leak_group"] = "lesion 0"
    drawn = made.synthetic(6, two)
    for number, row in enumerate(drawn):
        row["prompt_sample_id"] = f"prompt {number // 4}-{number % 2}"
    given = made.inputs(str(tmp_path), real, drawn) | {"classes": list(two), "side": 32, "excel": False}
    numbers = {"originals_per_class": 3, "synthetic_per_class": 3}
    config = validate(BuildConfig, given | numbers | {"output": f"{tmp_path}/study"})
    told = made.opened(build.run(config))
    groups = [image.group for image in told.images]
    assert len(set(groups)) == 12 and {"lesion 0", "lesion 1", "lesion 2"} <= set(groups)
    more = validate(BuildConfig, given | numbers | {"output": f"{tmp_path}/m", "synthetic_per_class": 4})
    with pytest.raises(ValueError, match="too few AI images of different captions: mel: has 3, needs 4; nv: has 3"):
        build.run(more)
    assert not Path(f"{tmp_path}/m/manifest.json").exists()
    again = validate(BuildConfig, given | numbers | {"output": f"{tmp_path}/n", "one_per_prompt": False}
                     | {"synthetic_per_class": 6})  # fmt: skip
    assert len(made.opened(build.run(again)).images) == 18


def test_only_usable_images_of_the_split(tmp_path: Path) -> None:
    real, drawn = made.originals(3), made.synthetic(3)
    for row in real[7:14]:
        row["split"] = "train"
    for row in real[14:]:
        row |= {"status": "rejected", "reason": "too small"}
    for row in drawn[:7]:
        row |= {"status": "rejected", "reason": "copied"}
    given = made.inputs(str(tmp_path), real, drawn) | {"output": f"{tmp_path}/study", "side": 32}
    config = given | {"originals_per_class": 1, "synthetic_per_class": 2}
    shown = {image.sample_id for image in made.opened(build.run(validate(BuildConfig, config))).images}
    assert shown == {row["sample_id"] for row in [*real[:7], *drawn[7:]]}
    lacking = validate(BuildConfig, config | {"originals_per_class": 2, "output": f"{tmp_path}/o"})
    with pytest.raises(ValueError, match=r"too few original images of different lesions: akiec: has 1, needs 2; .*"
                       r"Take more rows than those of split=test, or lower originals_per_class"):  # fmt: skip
        build.run(lacking)


def test_a_class_that_no_row_has_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    given = made.inputs(str(tmp_path), made.originals(2), made.synthetic(2)) | {"output": f"{tmp_path}/study"}
    config = validate(BuildConfig, given | {"classes": ["nv", "psoriasis"], "side": 32})
    with pytest.raises(
        ValueError, match=r"psoriasis: has 0, needs 10\. Of column entity there is also: .*mel.*`classes`"
    ):
        build.run(config)


def test_smaller_originals_are_not_blown_up(tmp_path: Path) -> None:
    real = made.originals(2)
    for row in real[7:]:
        row |= {"width": 31}
    given = made.inputs(str(tmp_path), real, made.synthetic(2)) | {"output": f"{tmp_path}/study", "side": 256}
    config = given | {"originals_per_class": 2, "synthetic_per_class": 2}
    with pytest.raises(ValueError, match=r"nv: has 1 \(1 more are smaller than 32 px\), needs 2"):
        build.run(validate(BuildConfig, config))


def test_what_the_generator_may_have_seen_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = made.originals(2, split="train")
    drawn = made.synthetic(2)
    drawn[0]["prompt_sample_id"] = next(row["sample_id"] for row in real if row["entity"] == drawn[0]["entity"])
    made.inputs(str(tmp_path), real, drawn)
    code, said, error = call_cli(
        capsys, "reader-study", "build", "--config", "reader-study/paper", f"rows={tmp_path}/caption", "split=train",
        f"synthetic={tmp_path}/generate", f"output={tmp_path}/study", "side=32", "originals_per_class=1",
        "synthetic_per_class=2",
    )  # fmt: skip
    assert code == 0, error
    assert "warning: split=train: the generator and classifiers of these rows have seen the originals" in said
    assert f"give readers {tmp_path}/study/data-" in said and "instructions.html" in said
    shown = [image.sample_id for image in made.opened(manifest.read(f"{tmp_path}/study")).images]
    assert drawn[0]["prompt_sample_id"] not in shown, "an AI image and the photograph whose caption it was drawn from"
    made_rows.result(f"{tmp_path}/other", "ingest", made.originals(3))
    given = {"rows": f"{tmp_path}/other", "synthetic": f"{tmp_path}/generate", "output": f"{tmp_path}/o", "side": 32}
    build.run(validate(BuildConfig, given | {"originals_per_class": 2, "synthetic_per_class": 2, "zipped": False}))
    assert "is another result than the one that the generator was trained on" in capsys.readouterr().out
    assert not os.path.exists(f"{tmp_path}/o/readers.zip")


def test_a_build_that_was_killed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key has another random number, to which all that readers get must fit."""

    def killed(*arguments: Any, **metrics: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifest.Work, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            made.built(str(tmp_path))
    [data] = Path(tmp_path, "study").glob("data-*")
    before = json.loads((data / "readers" / "study.json").read_text())
    (data / "readers" / "images" / "999.png").write_bytes(b"of an earlier attempt")
    study = made.built(str(tmp_path))
    after = json.loads(made.files(study)["study.json"])
    assert after["images"] == before["images"] and after["study"] != before["study"]
    assert made.opened(study) and "images/999.png" not in made.files(study)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"column": "sample_id"}, "column=sample_id: no column that readers can name"),
        ({"column": "origin"}, "column=origin: no column that readers can name"),
        ({"column": "site"}, "classes: missing; name those of column=site"),
        ({"classes": ["mel"]}, "expected at least two classes"),
        ({"column": "malignant", "classes": ["a", "b"]}, "leave them out"),
        ({"side": 16}, "side=16"),
    ],
)
def test_settings_that_make_no_study(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(BuildConfig, {"output": "o", "rows": "r", "synthetic": "s"} | given)


def test_another_column(tmp_path: Path) -> None:
    study = made.built(str(tmp_path), 3, column="malignant", synthetic_per_class=2)
    told = made.opened(study)
    assert told.classes == ["benign", "malignant"] and len(told.images) == 10
    assert made.files(study)["answers.csv"].decode("utf-8-sig").startswith("study,image,malignant,malignant_conf")
    assert "<strong>Is what it shows benign or malignant?</strong>" in made.files(study)["instructions.html"].decode()


def test_a_workbook_needs_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"pip install 'dermray\[reader-study\]', or use CSV alone"):
        made.built(str(tmp_path))
    assert "answers.xlsx" not in made.files(made.built(str(tmp_path), excel=False))


def test_results_of_other_stages_are_refused(tmp_path: Path) -> None:
    given = made.inputs(str(tmp_path), made.originals(2), made.synthetic(2))
    turned = {"rows": given["synthetic"], "synthetic": given["synthetic"], "output": f"{tmp_path}/o"}
    with pytest.raises(ValueError, match="result of stage 'generate', expected one of"):
        build.run(validate(BuildConfig, turned))
