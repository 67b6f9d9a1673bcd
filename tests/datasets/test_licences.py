"""Images whose licences do not allow commercial use are refused where it is asked for: early, with what to do."""

import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, load, preset, validate
from dermray.datasets import folder, labelled_folders, mednode, sources
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.licences import ANY_USE, PER_IMAGE, CommercialUse, _table, of_result, use_of
from dermray.datasets.sources import SOURCES
from tests.datasets import published as p

OWN = {"folder", "webdataset", "hf_dataset"}  # whose licence is their owner's to say
ASKED = CommercialUse(commercial_use=True)


def ingest(*given: dict[str, Any], **more: Any) -> IngestConfig:
    return validate(IngestConfig, {"output": "o", "sources": list(given), "commercial_use": True, **more})


@pytest.mark.parametrize("name", sorted(set(SOURCES) - OWN))
def test_the_table_says_what_each_source_writes(name: str) -> None:
    """Into its rows, by its own code; a word that only its table has is known from the publisher's."""
    module = import_module("dermray.datasets.isic_archive" if name == "hiba" else SOURCES[name])
    code = Path(str(module.__file__)).read_text()
    [said] = re.findall(r'"licence": (.+?)[,}]\s', code)
    expected: str | None = PER_IMAGE
    if said.startswith("cells"):
        words = re.findall(r'"(CC[^"]+)"', said)
        assert all(use_of(word) for word in words)
    else:
        expected = None if said == "None" else said.strip('"')
        assert expected is None or use_of(expected), "the word is in the reviewed table"
    assert name in _table()["sources"] and _table()["sources"][name] == expected


def test_every_source_is_in_the_table_and_every_word_has_a_use() -> None:
    assert set(_table()["sources"]) == set(SOURCES) - OWN
    assert set(_table()["licences"].values()) == {ANY_USE, "non-commercial", "research only", "no adaptations"}
    for word in ("CC-0", "CC-BY", "CC-BY-NC"):  # the archive's, in its exports and in MILK10k and ISIC 2024
        assert use_of(word)


@pytest.mark.parametrize("word", ["CC0-1.0", "CC BY 4.0", "cc-by-4.0", "CC-BY", "CC-BY-SA-4.0",
                                  "LicenseRef-SCIN-Data-Use-License", "CC0-1.0 AND CC-BY-4.0"])  # fmt: skip
def test_licences_that_allow_any_use(word: str) -> None:
    ASKED.require_commercial({("a", word): 3})


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("CC-BY-NC-4.0", "3 images of a: CC-BY-NC-4.0 (non-commercial)"),
        ("cc by-nc-sa 4.0", "3 images of a: cc by-nc-sa 4.0 (non-commercial)"),
        ("CC-BY-ND-4.0", "3 images of a: CC-BY-ND-4.0 (no adaptations)"),
        ("LicenseRef-DDI-research-use", "3 images of a: LicenseRef-DDI-research-use (research only)"),
        ("CC0-1.0 AND CC-BY-NC-4.0", "3 images of a: CC-BY-NC-4.0 (non-commercial)"),
        ("CC0-1.0 AND unknown", "unknown (a licence that licences.yaml does not know)"),
        ("do as you like", "do as you like (a licence that licences.yaml does not know)"),
        (None, "3 images of a: no licence is stated"),
        ("unknown", "3 images of a: no licence is stated"),
        ("", "no licence is stated"),
    ],
)
def test_all_others_are_refused_with_what_to_do(word: str | None, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why) + ".*Leave these sources out"):
        ASKED.require_commercial({("b", "CC0-1.0"): 1, ("a", word): 3})
    CommercialUse().require_commercial({("a", word): 3})


def test_a_grant_has_a_name_of_its_own() -> None:
    granted = CommercialUse(commercial_use=True, commercial_licences=["Contract 2026-04"])
    granted.require_commercial({("ddi", "Contract 2026-04"): 3, ("a", "CC0-1.0 AND contract-2026-04"): 1})
    with pytest.raises(ConfigError, match="CC-BY-NC-4.0 is non-commercial, for everyone"):
        validate(CommercialUse, {"commercial_use": True, "commercial_licences": ["CC-BY-NC-4.0"]})
    with pytest.raises(ConfigError, match="expected commercial_use=true beside it"):
        validate(CommercialUse, {"commercial_licences": ["mine"]})


def test_a_result_without_licences_is_refused_too() -> None:
    ASKED.require_commercial(of_result("runs/a", ["CC0-1.0", "CC-BY-4.0"]))
    for licences in ([], ["CC0-1.0", "unknown"]):
        with pytest.raises(ConfigError, match="runs/a: no licence is stated"):
            ASKED.require_commercial(of_result("runs/a", licences))


def test_an_ingest_refuses_before_anything_is_read() -> None:
    ham, pad = {"source": "ham10000", "path": "/nowhere"}, {"source": "pad_ufes_20", "path": "/nowhere"}
    ingest(pad, {"source": "isic_archive", "path": "/nowhere"})  # whose table says it, image by image
    with pytest.raises(ConfigError, match=r"commercial_use=true: ham10000: CC-BY-NC-4.0 \(non-commercial\). Leave"):
        ingest(ham, pad)
    with pytest.raises(ConfigError, match="mednode: no licence is stated"):
        ingest({"source": "mednode", "path": "/nowhere"})
    mine = {"source": "folder", "path": "/nowhere", "name": "clinic"}
    with pytest.raises(ConfigError, match="clinic: no licence is stated"):
        ingest(mine)
    with pytest.raises(ConfigError, match="clinic: ours .a licence that licences.yaml does not know"):
        ingest(mine | {"licence": "ours"})
    ingest(mine | {"licence": "ours"}, commercial_licences=["ours"])
    ingest(mine | {"table": "t.csv", "columns": {"licence": "rights"}})  # the table says it
    ingest(ham | {"licence": "grant"}, commercial_licences=["grant"])


@pytest.mark.parametrize("name", sorted(set(SOURCES) - OWN))
def test_presets_are_refused_or_not_as_the_table_says(name: str) -> None:
    given = load(IngestConfig, preset(f"ingest/{name}")).sources
    word = _table()["sources"][name]
    if word == PER_IMAGE or use_of(str(word)) == ANY_USE:
        ingest(*given)
    else:
        with pytest.raises(ConfigError, match=f"commercial_use=true: {name}: "):
            ingest(*given)


def test_a_granted_licence_takes_the_place_of_the_publishers(tmp_path: Path) -> None:
    p.write(tmp_path, bcn20000=p.BCN + "BCN_1.jpg,55,torso,MEL,BCN_1,2012,male,train\n")
    assert [row["licence"] for row in p.rows_of("bcn20000", tmp_path)] == ["CC-BY-NC-4.0"]
    assert [row["licence"] for row in p.rows_of("bcn20000", tmp_path, licence="grant")] == ["grant"]
    found = {"source_id": "melanoma/1.jpg", "diagnosis": "melanoma"}
    config = mednode.SourceConfig(path="/nowhere", licence="grant")
    assert labelled_folders.to_row(found, config, mednode.TOLD)["licence"] == "grant"


def test_a_folders_licence_is_for_images_whose_row_names_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,rights\na.png,CC0-1.0\nb.png,\n")
    config = folder.SourceConfig(path=str(tmp_path), table="t.csv", columns={"licence": "rights"}, licence="ours")
    found = sources.open_table(config, ["image", "rights"])
    to_row = partial(folder.to_row, config=config)
    read = [row for part in found.chunks for row in sources.rows(found.table, part, to_row, config)]
    assert [row["licence"] for row in read] == ["CC0-1.0", "ours"]
