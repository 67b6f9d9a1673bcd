"""derm7pt, "the Atlas" (Kawahara et al. 2019, doi:10.1109/JBHI.2018.2824327): a clinical and a dermoscopic image each.

1,011 cases of Argenziano's Interactive Atlas of Dermoscopy, 2,013 images; for academic research, not to be handed on.
Published as release_v0.zip: meta/meta.csv (a line per case; `clinic` and `derm` name its images, NEL/Nel026.jpg below
images/) beside meta/train_indexes.csv, valid_indexes.csv and test_indexes.csv, whose `indexes` count the lines of
meta.csv from 0: 413, 203 and 395 cases, all official. Where a clinical image was missing (9 cases), `clinic` names the
dermoscopic one again: that row is rejected.

It lacks patients, ages and skin tones; the seven-point criteria are not read. From https://derm.cs.sfu.ca, with an
account.
"""

from functools import partial

from pydantic import Field

from dermray.datasets import tables
from dermray.datasets.cells import SEX, Cells, plain
from dermray.datasets.joined import Opened
from dermray.datasets.labels.table import label, labels_of
from dermray.datasets.sources import Reading, Row, TableConfig, open_table, read_table
from dermray.records import AT

REQUIRED = ["case_num", "diagnosis", "clinic", "derm", "sex", "location"]
MODALITIES = {"clinic": "clinical", "derm": "dermoscopic"}


class SourceConfig(TableConfig):
    """Where the tables and the images lie."""

    table: str | None = "meta/meta.csv"
    indexes: dict[str, str] | None = Field(
        {"train": "meta/train_indexes.csv", "val": "meta/valid_indexes.csv", "test": "meta/test_indexes.csv"},
        description="official split -> table of its cases; null to let them be split",
    )


def images(values: dict[str, str]) -> list[dict[str, str]]:
    """The cells of a case for each of its two images."""
    return [values | {"image": values[column], "modality": kind} for column, kind in MODALITIES.items()]


def to_row(cells: Cells, config: SourceConfig, splits: dict[str, str]) -> Row:
    """One image of a case."""
    name, kind = cells.text("image"), cells.values["modality"]
    row = {
        "file": name,
        "source_id": name,
        "lesion_id": cells.identity("case_num", config.source),
        **label(cells, "diagnosis", labels_of(config.vocabulary, config.more_labels)),
        "modality": kind,
        "sex": cells.read("sex", SEX),
        "site": cells.read("location", plain),
        "licence": "LicenseRef-derm7pt-academic-research",
        "split": splits.get((cells.values["case_num"] or "").strip()),
    }
    if name and kind == "clinical" and name == cells.text("derm"):
        reason = f"clinical image missing: the dermoscopic one stands in its place{AT}{cells.place}"
        row |= {"source_id": f"{name} as clinic", "status": "rejected", "reason": reason}
    return row


def _splits(found: tables.Survey, config: SourceConfig) -> dict[str, str]:
    """The official split of each case, by case_num.

    Raises:
        ValueError: a table of indexes names no line of meta.csv, or one that another split has too.
    """
    read = (record for chunk in found.chunks for record in tables.records(found.table, chunk))
    cases = ["" if record.problem else found.table.values(record)["case_num"].strip() for record in read]
    splits: dict[str, str] = {}
    for split, name in (config.indexes or {}).items():
        for index in tables.lookup(open_table(config, ["indexes"], name=name), "indexes"):
            if not (index.isdecimal() and int(index) < len(cases)):
                raise ValueError(
                    f"{config.located(name)}: index {index!r}: expected 0 to {len(cases) - 1}, a line of "
                    f"{found.table.path}; are both of one release?"
                )
            case = cases[int(index)]
            if splits.setdefault(case, split) != split:
                raise ValueError(f"{config.located(name)}: case {case!r} is in {splits[case]} too; keep it in one")
    return splits


def opened(config: SourceConfig) -> Opened:
    """The tables, read through once."""
    found = open_table(config, REQUIRED)
    splits = _splits(found, config)
    facts = {"cases": found.rows, "cases_in_no_index": found.rows - len(splits)} if config.indexes else {}
    return Opened(tables.several_images(found, images), partial(to_row, splits=splits), facts)


def read(config: SourceConfig) -> Reading:
    """Both images of all cases."""
    found, make, facts = opened(config)
    return read_table(found, make, config, facts)
