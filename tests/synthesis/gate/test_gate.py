"""The opened gate: what it finds, what it rejects, and what is not opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dermray import storage
from dermray.serving.drawing.gate import Gate as ServedGate
from dermray.synthesis.gate import index as indices
from dermray.synthesis.gate.copies import planted
from dermray.synthesis.gate.gate import Gate, Looks
from dermray.synthesis.gate.thumbnails import orientations
from tests.synthesis.gate.conftest import Made, make


def test_copies_are_found_by_both_looks_however_they_are_turned(made: Made) -> None:
    gate = Gate(made.uri)
    for turned in orientations(made.training[4]):
        [seen] = gate.seen(turned[None])
        for found in seen:
            assert found.sample_id == made.ids[4] and found.distance < 0.02
        assert gate.reason(seen) == "a copy of a training image by its pixels and its embedding"
    assert sum(gate.reason(seen) is not None for seen in gate.seen(made.unseen)) <= 1


@pytest.mark.parametrize("kind", ["cropped 10%", "tilted 5 to 15 degrees", "recoloured"])
def test_changed_copies_are_found_by_their_pixels(kind: str, made: Made) -> None:
    index = indices.Index(made.uri)
    copies = [planted(made.training[n], kind, (0, n)) for n in range(30)]
    found = [index.by_pixels(copy) for copy in copies]
    assert np.mean([one.sample_id == name for one, name in zip(found, made.ids, strict=False)]) > 0.85
    assert np.median([one.distance for one in found]) < 0.4


def test_what_is_seen_does_not_depend_on_what_is_looked_at_beside_it(made: Made) -> None:
    together = Gate(made.uri).seen(made.unseen)
    assert together == [Gate(made.uri).seen(image[None])[0] for image in made.unseen], "bit by bit"


def test_images_of_any_size_are_looked_at(made: Made) -> None:
    large = torch.nn.functional.interpolate(made.training[3:4].float(), (96, 96), mode="bicubic").clamp(0, 255)
    [seen] = Gate(made.uri).seen(large.round().to(torch.uint8))
    assert [found.sample_id for found in seen] == [made.ids[3]] * 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_training_images_are_enough(count: int, made: Made, tmp_path: Path) -> None:
    ids = make(tmp_path / "few", made.training[:count])
    [seen] = Gate(str(tmp_path / "few")).seen(made.training[:1])
    assert seen.pixels.sample_id == ids[0] and seen.pixels.distance < 1e-3


def test_kin_of_an_image_do_not_hide_its_copy(made: Made, tmp_path: Path) -> None:
    """Photographs of one lesion are near each other; the copy must stand out from the rest."""
    kin = torch.stack([planted(made.training[0], "noise", (n,)) for n in range(6)])
    make(tmp_path / "kin", torch.cat([made.training, kin]))
    copy = planted(made.training[0], "recoloured", (1,))
    [alone], [beside] = Gate(made.uri).seen(copy[None]), Gate(str(tmp_path / "kin")).seen(copy[None])
    assert beside.pixels.distance < 0.4 and beside.pixels.distance < alone.pixels.distance + 0.1


def test_clusters_are_searched_where_images_are_many(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "FLAT_UP_TO", 50)
    make(tmp_path / "many", made.training)
    looks = Looks(str(tmp_path / "many"))
    assert looks.index._pixels.nlist == indices.clustered(180) > 0
    assert [looks.seen(image).pixels.sample_id for image in made.training[:20]] == made.ids[:20]


def test_the_service_opens_the_same_files(made: Made) -> None:
    gate = ServedGate(made.uri)
    copy = torch.rot90(made.training[3], 1, (1, 2)).permute(1, 2, 0).numpy()
    assert gate.refuses(gate.distance(copy)) and gate.distance(copy) < 0.1
    [closeness] = map(Gate(made.uri).closeness, Gate(made.uri).seen(made.unseen[:1]))
    assert gate.distance(made.unseen[0].permute(1, 2, 0).numpy()) == closeness


def test_an_index_of_another_version_or_none_is_not_opened(made: Made, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no index of training images there; run the generate stage again"):
        indices.Index(str(tmp_path))
    copy = tmp_path / "gate"
    shutil.copytree(made.uri, copy)
    about = json.loads((copy / indices.ABOUT).read_text())
    (copy / indices.ABOUT).write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(ValueError, match="an index of version 99, and this dermray reads version 1; run the generate"):
        Gate(str(copy))


def test_a_network_that_was_replaced_is_not_opened(made: Made, tmp_path: Path) -> None:
    copy = tmp_path / "gate"
    shutil.copytree(made.uri, copy)
    about = json.loads((copy / indices.ABOUT).read_text())
    (copy / indices.ABOUT).write_text(json.dumps(about | {"extractor_hash": "another"}))
    with pytest.raises(ValueError, match=r"other weights .* than those that the gate's index was made with"):
        Gate(str(copy))


def test_a_gate_that_was_not_calibrated_is_not_opened(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.uri, tmp_path / "gate")
    (tmp_path / "gate" / "calibration.json").unlink()
    with pytest.raises(FileNotFoundError, match="no calibrated gate there; run the generate stage again"):
        Gate(str(tmp_path / "gate"))


def test_it_is_opened_from_s3(made: Made, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path))
    storage.copy_directory(made.uri, f"{bucket}/gate")
    assert Gate(f"{bucket}/gate").seen(made.unseen) == Gate(made.uri).seen(made.unseen)
