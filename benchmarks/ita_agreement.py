"""Skin tones estimated by the typology angle beside what people said of the same patients: agreement, as it is.

    python -m benchmarks.ita_agreement ../shared/data
    python -m benchmarks.ita_agreement ../shared/data --classifier runs/tone

The latter is a result of `dermray classify ... column=skin_tone`, compared with the phantoms' tones and the same types.

The first argument holds pad_ufes_20_subset (Fitzpatrick types) and, without types, ham10000_nc_subset and isic_uda1.
Prints Markdown. Needs no Ray.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from dermray import manifest, storage
from dermray.classification.skin_tones import ByClassifier, require
from dermray.datasets.decode import decode
from dermray.datasets.renderer import draw_phantoms
from dermray.records import SKIN_TONES, skin_tone_of
from dermray.skin_tone import ita
from dermray.skin_tone.estimate import ByAngle, Measured, measured, of_pixels
from dermray.skin_tone.lab import lab_of
from dermray.skin_tone.skin import RING, reduced
from dermray.statistics import auc_interval, cluster_interval, weighted_auc

LIMITS = {  # degrees between six classes
    "Chardon (ours)": ita.LIMITS,
    "Kinyanjui 2020": (55.0, 41.0, 28.0, 19.0, 10.0),
    "Groh 2021, fitted to Fitzpatrick17k": (45.0, 28.0, 17.0, 5.0, -20.0),
}
RESAMPLES, PHANTOMS, SIDE = 500, 600, 128
PATCH = 20 / 256  # of the longer side


class Photograph(NamedTuple):
    """With what is known of its patient."""

    image: Image.Image
    patient: str
    fitzpatrick: int | None


def photographs(folder: Path) -> list[Photograph]:
    """Of one of the folders, by its metadata.csv."""
    table = pd.read_csv(folder / "metadata.csv")
    patients = table.get("patient_id", pd.Series([""] * len(table)))
    types = table.get("fitspatrick", pd.Series([np.nan] * len(table)))
    return [
        Photograph(decode((folder / file).read_bytes()), patient, None if np.isnan(kind) else int(kind))
        for file, patient, kind in zip(table.file, patients, types, strict=True)
    ]


def ring(image: Image.Image) -> Measured:
    """All of the picture's outer part, whatever it shows."""
    lab = lab_of(reduced(image))
    y, x = (np.abs((np.arange(side) + 0.5) / side * 2 - 1) for side in lab.shape[:2])
    return of_pixels(lab, np.maximum(y[:, None], x[None]) > RING)


def whole(image: Image.Image) -> Measured:
    """All of the picture, as Groh et al. 2021 did without a mask."""
    lab = lab_of(reduced(image))
    return of_pixels(lab, np.ones(lab.shape[:2], bool))


def lightest_patch(image: Image.Image) -> Measured:
    """The lightest of eight squares along the edges, as Bevan and Atapour-Abarghouei 2022 did."""
    lab = lab_of(reduced(image))
    side, (height, width) = round(PATCH * max(lab.shape)), lab.shape[:2]
    tops, lefts = ((0, (length - side) // 2, length - side) for length in (height, width))
    found = [
        of_pixels(lab[top : top + side, left : left + side], np.ones((side, side), bool))
        for top in tops
        for left in lefts
        if (top, left) != (tops[1], lefts[1])
    ]
    return max(found, key=lambda one: -np.inf if one.degrees is None else one.degrees)


WAYS: dict[str, Callable[[Image.Image], Measured]] = {
    "our mask": measured, "ring, no mask": ring, "whole picture": whole, "lightest of 8 patches": lightest_patch,
}  # fmt: skip


def agreement(truth: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    """Of two arrays of A, B, C."""
    labels = [*SKIN_TONES]
    kappa = cohen_kappa_score(truth, said, labels=labels, weights="linear", sample_weight=weights)
    right = float(np.average(truth == said, weights=weights))
    recalls = [np.average((said == name)[truth == name]) for name in labels if (truth == name).any()]
    return {"accuracy": right, "balanced accuracy": float(np.mean(recalls)), "kappa": float(kappa)}


def with_interval(truth: np.ndarray, said: np.ndarray, patients: list[str], name: str) -> str:
    """The number and its 95% interval over patients."""

    def values(weights: np.ndarray) -> np.ndarray:
        return np.array([agreement(truth, said, one)[name] for one in weights])

    low, high = cluster_interval(values, patients, RESAMPLES, 0)
    return f"{agreement(truth, said)[name]:.2f} [{low:.2f}, {high:.2f}]"


def table(head: list[str], rows: Iterable[list[Any]]) -> None:
    """As Markdown."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print()


def of_types(known: list[Photograph], found: list[Measured]) -> None:
    """What the angle says of each Fitzpatrick type."""
    rows = []
    for kind in sorted({one.fitzpatrick for one in known if one.fitzpatrick}):
        mine = [got for one, got in zip(known, found, strict=True) if one.fitzpatrick == kind]
        degrees = [got.degrees for got in mine if got.degrees is not None]
        tones = Counter(ita.tone_of(one) for one in degrees)
        low, middle, high = np.percentile(degrees, [25, 50, 75])  # each type has some
        told = [tones[name] for name in SKIN_TONES]
        quartiles = f"{low:.0f} to {high:.0f}"
        rows.append([f"{kind} ({skin_tone_of(kind)})", len(mine), *told, len(mine) - len(degrees), middle, quartiles])
    print("### Our mask, by what people said\n")
    table(["Fitzpatrick type", "images", "said A", "B", "C", "no estimate", "median angle", "quartiles"], rows)


def told_apart(known: list[Photograph], found: list[Measured]) -> None:
    """How well the angle tells types apart, whatever the limits; and how much it changes from picture to picture."""
    got = [(one, f.degrees) for one, f in zip(known, found, strict=True) if f.degrees is not None]
    degrees, types = np.array([angle for _, angle in got]), np.array([one.fitzpatrick for one, _ in got])
    patients, classes = np.array([one.patient for one, _ in got]), np.array([ita.class_of(one) for one in degrees])
    light = np.array([skin_tone_of(int(kind)) == "A" for kind in types])
    area = float(weighted_auc(light, degrees, np.ones((1, len(degrees))))[0])
    low, high = auc_interval(light, degrees, patients.tolist(), RESAMPLES, 0) or (np.nan, np.nan)
    near, near_two = np.abs(classes - types) <= 1, np.abs(types - 2) <= 1
    first, second = np.triu_indices(len(degrees), 1)
    apart, same = np.abs(degrees[first] - degrees[second]), patients[first] == patients[second]
    for line in (
        f"Rank correlation of angle and type: {spearmanr(degrees, types).statistic:.2f} (perfect: -1).",
        f"The angle for A against B, whatever the limits: AUC {area:.2f} [{low:.2f}, {high:.2f}].",
        f"Six classes: the type itself {np.mean(classes == types):.2f}, at most one off {np.mean(near):.2f}; "
        f"always type 2: {np.mean(types == 2):.2f} and {np.mean(near_two):.2f}.",
        f"Two pictures of one patient differ by {np.median(apart[same]):.0f} degrees (median of {same.sum()} pairs), "
        f"pictures of two patients by {np.median(apart[~same]):.0f}.",
    ):
        print(f"- {line}")
    print()


def by_ways(known: list[Photograph], found: dict[str, list[Measured]]) -> None:
    """Agreement in groups A, B, C of each way to choose pixels, under each set of limits."""
    truth = np.array([skin_tone_of(one.fitzpatrick) for one in known])
    patients = [one.patient for one in known]
    commonest = Counter(truth.tolist()).most_common(1)[0][0]
    rows = [[f"always {commonest}", "", 0, with_interval(truth, np.full(len(truth), commonest), patients, "accuracy"),
             0.5, "0.00"]]  # fmt: skip
    for way, of_way in found.items():
        there = np.array([one.degrees is not None for one in of_way])
        chosen = [who for who, has in zip(patients, there, strict=True) if has]
        for name, limits in LIMITS.items():
            said = np.array([ita.tone_of(one.degrees, limits) for one in of_way if one.degrees is not None])
            accuracy, kappa = (with_interval(truth[there], said, chosen, what) for what in ("accuracy", "kappa"))
            balanced = agreement(truth[there], said)["balanced accuracy"]
            rows.append([way, name, int((~there).sum()), accuracy, balanced, kappa])
    print(f"### Groups A, B, C of {len(known)} images, {len(set(patients))} patients\n")
    table(["pixels", "limits", "no estimate", "accuracy", "balanced accuracy", "kappa, linear weights"], rows)


def distribution(name: str, found: list[Measured]) -> list[Any]:
    """How many images are of which tone, or have none."""
    tones = Counter(one.reason or ita.tone_of(one.degrees or 0.0) for one in found)
    reasons = ", ".join(f"{n} {what}" for what, n in tones.items() if what not in SKIN_TONES)
    return [name, len(found), *(tones[tone] for tone in SKIN_TONES), reasons or "none"]


def phantoms(count: int) -> Iterator[tuple[str, Image.Image]]:
    """Tones and pictures that no ingest has drawn."""
    for truth, drawn in draw_phantoms(77, count, SIDE):
        yield truth.skin_tone, Image.fromarray(drawn.image)


def compare(name: str, truth: list[str], said: list[str | None]) -> list[Any]:
    """Agreement where there is an estimate."""
    pairs = [(a, b) for a, b in zip(truth, said, strict=True) if b is not None]
    told = agreement(*(np.array(column) for column in zip(*pairs, strict=True)))
    return [name, len(truth), len(truth) - len(pairs), *told.values()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classifier", help="result of the classify stage on column skin_tone")
    given = parser.parse_args()
    photos = photographs(given.data / "pad_ufes_20_subset")
    known = [one for one in photos if one.fitzpatrick]
    found = {way: [of(one.image) for one in known] for way, of in WAYS.items()}
    by_ways(known, found)
    of_types(known, found["our mask"])
    told_apart(known, found["our mask"])

    rows, spent = [distribution("PAD-UFES-20, type known", found["our mask"])], list[str]()
    unknown = [measured(one.image) for one in photos if not one.fitzpatrick]
    rows.append(distribution("PAD-UFES-20, type unknown", unknown))
    for folder in ("ham10000_nc_subset", "isic_uda1"):
        images = [one.image for one in photographs(given.data / folder)]
        began = time.process_time()
        rows.append(distribution(folder, [measured(image) for image in images]))
        spent.append(f"{(time.process_time() - began) / len(images) * 1e3:.1f} for {folder}")
    print("### What the estimate says, without anybody to compare it with\n")
    table(["images of", "number", "A", "B", "C", "no estimate"], rows)
    print(f"CPU ms an image, decoding apart: {', '.join(spent)}.\n")

    drawn = list(phantoms(PHANTOMS))
    truth = [tone for tone, _ in drawn]
    rows = [compare("typology angle on phantoms", truth, [ByAngle()(image).tone for _, image in drawn])]
    if given.classifier:
        result = manifest.read(given.classifier)
        require(result, "--classifier")
        judge = ByClassifier(storage.join(result.data, "model"))
        rows.append(compare("classifier on phantoms", truth, [judge(image).tone for _, image in drawn]))
        people = [str(skin_tone_of(one.fitzpatrick)) for one in known]
        rows.append(compare("the same on PAD-UFES-20", people, [judge(one.image).tone for one in known]))
    print("### Drawn phantoms, whose tone is known\n")
    table(["way", "images", "no estimate", "accuracy", "balanced accuracy", "kappa"], rows)


if __name__ == "__main__":
    main()
