"""SSIM, PSNR and MSE between synthetic images and real partners. A synthetic image has none: a rule makes the pairs.

    prompt   the real image whose caption was the prompt (paper 000 pairs by text files, which may be this)
    nearest  the real training image that the generator's gate found nearest
    random   a random compared real image of the same entity, or of the same label where the entity is unknown

Structures of two photographs of different lesions have nothing to do with each other: what these numbers say is how
smooth and how alike in brightness images are. `random` shows what is reached by having the entity alone.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dermray.evaluation.groups import names
from dermray.evaluation.samples import Sample, shown
from dermray.evaluation.settings import Attribute, Pairing
from dermray.picked import pick
from dermray.row_files import RowFiles

AT_ONCE = 64
SIGMA = 1.5  # of SSIM (Wang et al. 2004), whose window has 11 px then
BORDER = 5  # px at each side where no whole window fits: torchmetrics mirrors images there, others leave it out
KINDS: tuple[Attribute, ...] = ("entity", "label")
ID_COLUMNS = {"prompt": "prompt_sample_id", "nearest": "nearest_sample_id"}
Pairs = tuple[np.ndarray, Tensor]  # places (n,) of synthetic images, and their partners (n, 3, S, S) uint8


def require_partners(fake: pa.Table, rows: RowFiles, rules: tuple[Pairing, ...], uri: str) -> None:
    """Refuse synthetic images that were made from other rows, before anything is computed.

    Args:
        fake: rows with the columns of ASKED. uri: of `rows`, as the config gives it.

    Raises:
        ValueError: a rule finds no partner for any image.
    """
    for rule in rules:
        if rule == "random":
            continue
        ids = sorted(set(fake[ID_COLUMNS[rule]].drop_null().to_pylist()))
        if not len(pick(rows, [], pc.field("sample_id").isin(ids), 1)):
            raise ValueError(
                f"pairing={rule}: none of the {len(ids)} images that {len(fake)} synthetic ones name in "
                f"{ID_COLUMNS[rule]} is a row of {uri}: they were made from other rows; give those, or leave {rule} "
                "out of pairing"
            )


def named_partners(fake: Sample, rows: RowFiles, rule: Pairing) -> Pairs:
    """By the ids in the synthetic rows; those without, or whose partner is no usable row, are left out."""
    wanted = fake.table[ID_COLUMNS[rule]].to_pylist()
    ids = sorted({name for name in wanted if name is not None})
    found = pick(rows, [], pc.field("sample_id").isin(ids) & (pc.field("status") == "ok"))
    place = {name: i for i, name in enumerate(found["sample_id"].to_pylist())}
    have = np.array([i for i, name in enumerate(wanted) if name in place], dtype=int)
    images = shown(found, fake.images.shape[-1])
    return have, images[[place[wanted[i]] for i in have]]


def random_partners(fake: Sample, real: Sample, seed: int) -> Pairs:
    """Of the same entity or label; synthetic images of neither, or of which no real one is there, are left out."""
    there = defaultdict(list)
    for attribute in KINDS:
        for i, kind in enumerate(names(real.table, attribute)):
            there[kind].append(i)
    wanted = zip(*(names(fake.table, attribute) for attribute in KINDS), strict=True)
    kinds, rng = [entity or label for entity, label in wanted], np.random.default_rng(seed)
    have = [i for i, kind in enumerate(kinds) if kind is not None and there[kind]]
    partners = [there[kinds[i]][rng.integers(len(there[kinds[i]]))] for i in have]
    return np.array(have, dtype=int), real.images[partners]


def scores(images: Tensor, partners: Tensor) -> dict[str, np.ndarray]:
    """SSIM (per channel, averaged), PSNR in dB and MSE (of levels 0 to 255) of n pairs of (n, 3, S, S) uint8 images.
    The PSNR of equal images is infinite."""
    parts = list(_parts(images, partners))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("ssim", "psnr", "mse")}


def _parts(images: Tensor, partners: Tensor) -> Iterator[dict[str, np.ndarray]]:
    for a, b in zip(images.split(AT_ONCE), partners.split(AT_ONCE), strict=True):
        one, other = a.double(), b.double()
        mse = ((one - other) ** 2).mean((1, 2, 3)).numpy()
        _, ssim = structural_similarity_index_measure(
            one / 255, other / 255, sigma=SIGMA, data_range=1.0, reduction="none", return_full_image=True
        )
        ssim = ssim[..., BORDER:-BORDER, BORDER:-BORDER].mean((1, 2, 3))
        with np.errstate(divide="ignore"):
            yield {"ssim": ssim.numpy(), "psnr": 10 * np.log10(255**2 / mse), "mse": mse}


def summaries(found: dict[str, np.ndarray], table: pa.Table, attributes: tuple[Attribute, ...]) -> list[dict[str, Any]]:
    """Means and standard deviations over all pairs, then over those of each group.

    Args:
        found: of `scores`. table: the synthetic rows, one a pair.
    """
    rows = [{"attribute": None, "group": None} | _summary(found)]
    for attribute in attributes:
        of_pair = np.array([name or "" for name in names(table, attribute)])
        for group in sorted(set(of_pair) - {""}):
            chosen = {name: values[of_pair == group] for name, values in found.items()}
            rows.append({"attribute": attribute, "group": group} | _summary(chosen))
    return rows


def _summary(found: dict[str, np.ndarray]) -> dict[str, Any]:
    finite = {name: values[np.isfinite(values)] for name, values in found.items()}
    means = {name: float(values.mean()) if len(values) else None for name, values in finite.items()}
    spread = {f"{name}_spread": float(values.std()) if len(values) else None for name, values in finite.items()}
    return {"pairs": len(found["mse"]), "identical": int((found["mse"] == 0).sum()), **means, **spread}
