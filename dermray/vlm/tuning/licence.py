"""The licence of a base's weights: what its model card says, or a licence file beside them."""

import re
from pathlib import Path

import yaml

NAMES = ("license", "licence", "notice", "use_policy")  # how files with a licence begin, in lower case
FIRST = 200  # characters of a licence file that are looked at for its name


def licence_of(directory: Path) -> str | None:
    """What the card's metadata or a licence file of a model directory says; None where there is neither.

    The card's `license: other` says its name elsewhere in the metadata.
    """
    if said := _from_card(directory / "README.md"):
        return said
    for file in sorted(directory.iterdir()) if directory.is_dir() else ():
        if file.is_file() and file.name.lower().startswith(NAMES):
            lines = [line.strip() for line in file.read_text(errors="replace")[:FIRST].splitlines() if line.strip()]
            return lines[0] if lines else file.name
    return None


def require_licence(directory: Path, base: str, given: str | None) -> str:
    """What is given by hand, or what lies beside the weights.

    Raises:
        ValueError: neither.
    """
    found = given or licence_of(directory)
    if not found:
        raise ValueError(
            f"base={base}: no licence is stated there (no `license` in README.md's metadata, no file LICENSE*); what "
            "is tuned inherits it, so look it up and give it as licence=... (licence=own for weights of your own)"
        )
    return found


def _from_card(card: Path) -> str | None:
    if not card.is_file():
        return None
    head = re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(errors="replace"), re.S)
    try:
        data = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return None
    if not isinstance(data, dict):
        return None
    name, licence = data.get("license_name"), data.get("license")
    said = name if licence in (None, "other") and name else licence
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said) if said else None
