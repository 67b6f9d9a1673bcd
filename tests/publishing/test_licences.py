"""Which images may be handed on: by hand-read licences, and never by default."""

import importlib
import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from dermray.config import ConfigError
from dermray.datasets.sources import SOURCES
from dermray.publishing.attribution import MADE, ORIGINS, is_own
from dermray.publishing.licences import LICENCES, forbids, parts, require_allowed

OWN = {"folder", "webdataset", "hf_dataset"}


@pytest.mark.parametrize(
    ("licence", "stopped"),
    [
        ("CC0-1.0", False), ("CC-BY-4.0", False), ("CC-BY-NC", False), ("CC-0", False), ("CC-BY-NC-SA-3.0", False),
        ("LicenseRef-SCIN-Data-Use-License", False), ("LicenseRef-DDI-research-use", True),
        ("LicenseRef-derm7pt-academic-research", True), (None, True), ("unknown", True), ("CC-BY-ND-4.0", True),
        ("our hospital's", True), ("CC-BY-4.0 AND CC0-1.0", False), ("CC-BY-4.0 AND LicenseRef-DDI-research-use", True),
        ("CC-BY-4.0 AND unknown", True),
        ("cc by 4.0", False), ("CC BY-NC-ND 4.0", True),
    ],
)  # fmt: skip
def test_what_may_be_handed_on(licence: str | None, stopped: bool) -> None:
    assert forbids(licence, []) == stopped
    assert not forbids(licence, parts(licence)), "who has the right says so, licence by licence"


def test_a_right_to_one_licence_is_none_to_another() -> None:
    assert forbids("LicenseRef-DDI-research-use AND unknown", ["unknown"])
    assert forbids("LicenseRef-DDI-research-use", ["LicenseRef-derm7pt-academic-research"])


def test_the_refusal_names_sources_numbers_and_what_to_do() -> None:
    rows = {("ddi", "LicenseRef-DDI-research-use"): 656, ("ham10000", "CC-BY-NC-4.0"): 10, ("clinic", None): 7}
    with pytest.raises(ConfigError) as error:
        require_allowed(rows, [])
    said = str(error.value)
    assert (
        "656 rows of ddi: LicenseRef-DDI-research-use (research use by those who signed; not to be handed on)" in said
    )
    assert "7 rows of clinic: licence unknown" in said and "ham10000" not in said
    assert "leave_out_forbidden=true" in said and 'permitted="[LicenseRef-DDI-research-use, unknown]"' in said
    require_allowed(rows, ["LicenseRef-DDI-research-use", "unknown"])


def test_the_tables_know_every_source_and_every_licence_that_sources_write() -> None:
    assert set(SOURCES) - OWN == (set(ORIGINS) | set(MADE)) - {"synthetic"}
    assert [is_own(name) for name in ("clinic", "folder", "ham10000", "phantom", "synthetic")] == [True] * 2 + [
        False
    ] * 3
    reviewed = yaml.safe_load(files("dermray.datasets").joinpath("licences.yaml").read_text())["licences"]
    strange = {name for word in reviewed for name in parts(word) if name not in LICENCES}
    assert strange == {"CC-BY-ND-4.0", "CC-BY-NC-ND-4.0"}, "a changed image may not be handed on under these"
    written = set[str]()
    for module in SOURCES.values():
        code = Path(importlib.import_module(module).__file__ or "").read_text()
        written |= set(re.findall(r'"(CC[-0-9A-Z.]+|LicenseRef-[^"]+)"', code))
    assert {"CC-BY-NC-4.0", "LicenseRef-DDI-research-use"} <= written <= set(LICENCES)
