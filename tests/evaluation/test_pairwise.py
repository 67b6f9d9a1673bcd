from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dermray.datasets.phantom import encode_png
from dermray.evaluation.pairwise import (
    named_partners,
    random_partners,
    require_partners,
    scores,
    summaries,
)
from dermray.evaluation.samples import Sample
from dermray.records import IMAGES, conform, sample_id
from dermray.row_files import RowFiles

SIDE = 16


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def sample(images: np.ndarray, **columns: list[Any]) -> Sample:
    known: dict[str, list[Any]] = {name: [None] * len(images) for name in ("entity", "malignant", "skin_tone")}
    return Sample(pa.table(known | columns), torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.fixture
def rows(tmp_path: Any) -> tuple[RowFiles, np.ndarray, list[str]]:
    """Six real rows, the last one rejected."""
    images = pictures(6, 0)
    encoded = [encode_png(image) for image in images]
    ids = [sample_id(image) for image in encoded]
    table = conform(
        [
            {"sample_id": name, "image": image, "width": SIDE, "height": SIDE, "status": "rejected" if i == 5 else "ok"}
            for i, (name, image) in enumerate(zip(ids, encoded, strict=True))
        ],
        IMAGES,
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    return RowFiles(str(tmp_path)), images, ids


def test_scores_by_their_formulas_each_channel_by_itself() -> None:
    a, b = pictures(3, 1), pictures(3, 2)
    b[2] = a[2]
    tensors = [torch.from_numpy(x).permute(0, 3, 1, 2) for x in (a, b)]
    found = scores(*tensors)
    expected = [((x.astype(float) - y) ** 2).mean() for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found["mse"], expected)
    np.testing.assert_allclose(found["psnr"][:2], 20 * np.log10(255 / np.sqrt(expected[:2])))
    assert np.isinf(found["psnr"][2]) and found["ssim"][2] == pytest.approx(1)
    channels = [scores(*(t[:, [c, c, c]] for t in tensors))["ssim"] for c in range(3)]
    np.testing.assert_allclose(found["ssim"], np.mean(channels, axis=0), rtol=1e-6)


def test_partners_by_id_and_who_has_none(rows: tuple[RowFiles, np.ndarray, list[str]]) -> None:
    files, images, ids = rows
    named = [ids[3], None, ids[0], ids[5], "gone", ids[3]]
    have, partners = named_partners(sample(pictures(6, 3), prompt_sample_id=named), files, "prompt")
    assert have.tolist() == [0, 2, 5], "the fourth's partner was rejected"
    np.testing.assert_array_equal(partners.permute(0, 2, 3, 1), images[[3, 0, 3]])


def test_random_partners_have_the_entity_or_else_the_label() -> None:
    kinds = ["mel", "nv", "nv", None]
    real = sample(pictures(4, 0), entity=kinds, malignant=[True, False, False, False])
    fake = sample(
        pictures(6, 1),
        entity=["nv", "mel", None, None, "vasc", None],
        malignant=[False, True, False, True, False, None],
    )
    have, partners = random_partners(fake, real, 0)
    assert have.tolist() == [0, 1, 2, 3], "no real vasc is there, and the last is of nothing known"
    number = [int(np.flatnonzero((real.images == p).flatten(1).all(1))[0]) for p in partners]
    assert number[0] in (1, 2) and number[1] == 0 and number[2] in (1, 2, 3) and number[3] == 0
    assert torch.equal(random_partners(fake, real, 0)[1], partners)


def test_groups_and_equal_images_are_counted() -> None:
    found = {"ssim": np.array([0.5, 0.7, 1.0]), "psnr": np.array([10.0, 20.0, np.inf]), "mse": np.array([4.0, 2.0, 0])}
    table = sample(pictures(3, 0), entity=["nv", "mel", "nv"]).table
    whole, mel, nv = summaries(found, table, ("entity",))
    assert (whole["pairs"], whole["identical"], whole["psnr"], whole["mse"]) == (3, 1, 15.0, 2.0)
    assert (mel["group"], mel["ssim"], nv["pairs"], nv["psnr"]) == ("mel", 0.7, 2, 10.0)
    alone = summaries({name: values[2:] for name, values in found.items()}, table.slice(2), ())
    assert alone[0]["psnr"] is None and alone[0]["identical"] == 1


def test_images_of_other_rows_are_refused(rows: tuple[RowFiles, np.ndarray, list[str]]) -> None:
    files, _, ids = rows
    fake = pa.table({"prompt_sample_id": ["gone", "lost"], "nearest_sample_id": [ids[1], "gone"]})
    require_partners(fake, files, ("nearest", "random"), "runs/caption")
    with pytest.raises(ValueError, match="pairing=prompt: none of the 2 images that 2 synthetic ones name in prompt_"):
        require_partners(fake, files, ("random", "prompt"), "runs/caption")


def test_ssim_is_that_of_whole_windows() -> None:
    """As Wang et al., scikit-image and TensorFlow have it: a mirrored border would count a third of a 64 px image."""
    rng = np.random.default_rng(0)
    shared = gaussian_filter(rng.uniform(0, 255, (2, 3, 40, 36)), (0, 0, 3, 3)) + rng.normal(0, 8, (2, 3, 40, 36))
    pair = [np.clip(shared + rng.normal(0, 6, shared.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    found = scores(*map(torch.from_numpy, pair))["ssim"]
    for a, b, value in zip(*(images / 255 for images in pair), found, strict=True):
        assert np.mean([_ssim(x, y) for x, y in zip(a, b, strict=True)]) == pytest.approx(value, abs=1e-6)


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Of one channel in [0, 1], by the definition."""

    def smooth(image: np.ndarray) -> np.ndarray:
        smoothed: np.ndarray = gaussian_filter(image, 1.5, truncate=3.5)
        return smoothed

    mean_x, mean_y = smooth(x), smooth(y)
    both = smooth(x * y) - mean_x * mean_y
    spread = smooth(x * x) - mean_x**2 + smooth(y * y) - mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (spread + c2))
    return float(found[5:-5, 5:-5].mean())
