"""What licences say of handing images on. A table to be looked at by whoever publishes, and no legal advice.

Rows hold SPDX names where there is one, the ISIC archive's short names, or LicenseRef-... of a data set's own terms;
synthetic rows hold all licences that they were made from, joined by AND. What is not in the table, `unknown` among it,
is not handed on unless whoever exports says that they may. What may be used commercially is another question, which
datasets/licences.yaml answers.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dermray.config import ConfigError
from dermray.datasets.cells import plain
from dermray.datasets.licences import ALSO

UNKNOWN = "unknown"  # of rows without a licence


class Licence(NamedTuple):
    """What a licence asks for."""

    may_be_handed_on: bool
    hub: str | None  # its name at the Hugging Face hub
    url: str
    asks: str  # of whoever hands it on or uses it


_CREDIT = "credit the creators, link the licence, say what was changed"
_SAME = f"{_CREDIT}; what is made of it goes under the same licence"
_CC = "https://creativecommons.org"
LICENCES = {
    "CC0-1.0": Licence(True, "cc0-1.0", f"{_CC}/publicdomain/zero/1.0/", "nothing; citing is good practice"),
    "CC-BY-2.0": Licence(True, "cc-by-2.0", f"{_CC}/licenses/by/2.0/", _CREDIT),
    "CC-BY-3.0": Licence(True, "cc-by-3.0", f"{_CC}/licenses/by/3.0/", _CREDIT),
    "CC-BY-4.0": Licence(True, "cc-by-4.0", f"{_CC}/licenses/by/4.0/", _CREDIT),
    "CC-BY-SA-3.0": Licence(True, "cc-by-sa-3.0", f"{_CC}/licenses/by-sa/3.0/", _SAME),
    "CC-BY-SA-4.0": Licence(True, "cc-by-sa-4.0", f"{_CC}/licenses/by-sa/4.0/", _SAME),
    "CC-BY-NC-4.0": Licence(True, "cc-by-nc-4.0", f"{_CC}/licenses/by-nc/4.0/", f"no commercial use; {_CREDIT}"),
    "CC-BY-NC-SA-3.0": Licence(True, "cc-by-nc-sa-3.0", f"{_CC}/licenses/by-nc-sa/3.0/", f"no commercial use; {_SAME}"),
    "CC-BY-NC-SA-4.0": Licence(True, "cc-by-nc-sa-4.0", f"{_CC}/licenses/by-nc-sa/4.0/", f"no commercial use; {_SAME}"),
    "LicenseRef-SCIN-Data-Use-License": Licence(
        True, None, "https://github.com/google-research-datasets/scin/blob/main/LICENSE",
        f"{_CREDIT}; nobody may try to re-identify the people shown",
    ),
    "LicenseRef-DDI-research-use": Licence(
        False, None, "https://ddi-dataset.github.io", "research use by those who signed; not to be handed on"
    ),
    "LicenseRef-derm7pt-academic-research": Licence(
        False, None, "https://derm.cs.sfu.ca", "academic research by those who registered; not to be handed on"
    ),
}  # fmt: skip
# As the ISIC archive writes them: https://creativecommons.org licences of version 4.0, and CC0 1.0.
SHORT = {"CC-0": "CC0-1.0", "CC0": "CC0-1.0", "CC-BY": "CC-BY-4.0", "CC-BY-NC": "CC-BY-NC-4.0"}


def _key(name: str) -> str:
    return plain(name).replace(" ", "-")


_SPELLED = {_key(name): name for name in LICENCES} | {_key(name): known for name, known in SHORT.items()}


def parts(licence: str | None) -> list[str]:
    """The licences that a row's text names, each as the table has it if it is there."""
    named = [part.strip() for part in (licence or UNKNOWN).split(ALSO)]
    return sorted(map(_known_as, named))


def forbids(licence: str | None, permitted: Iterable[str]) -> bool:
    """Whether a row may not be handed on."""
    mine = set(map(_known_as, permitted))
    return any(part not in mine and not _known_to_allow(part) for part in parts(licence))


def _known_as(name: str) -> str:
    """As the table has it, without regard to case and to spaces or hyphens; itself where it is not there."""
    return _SPELLED.get(_key(name), name)


def _known_to_allow(name: str) -> bool:
    return name in LICENCES and LICENCES[name].may_be_handed_on


def require_allowed(rows: Mapping[tuple[str, str | None], int], permitted: list[str]) -> None:
    """Refuse rows that may not be handed on.

    Args:
        rows: how many there are by source and licence. permitted: licences that whoever exports has the right to.

    Raises:
        ConfigError: naming sources, licences and numbers, and what to do.
    """
    stopped = {key: number for key, number in rows.items() if forbids(key[1], permitted)}
    if not stopped:
        return
    lines = [
        f"{number} rows of {source}: {_why(licence)}" for (source, licence), number in sorted(stopped.items(), key=str)
    ]
    named = sorted({part for _, licence in stopped for part in parts(licence) if not _known_to_allow(part)})
    raise ConfigError(
        "not all of these rows may be handed on:\n    " + "\n    ".join(lines) + "\n  Leave them out with "
        f'leave_out_forbidden=true; or, if you have the right, say so: permitted="[{", ".join(named)}]"'
    )


def _why(licence: str | None) -> str:
    if licence is None:
        return f"licence {UNKNOWN}"
    return "; ".join(
        f"{part} ({LICENCES[part].asks if part in LICENCES else 'not a licence that dermray knows'})"
        for part in parts(licence)
        if not _known_to_allow(part)
    )
