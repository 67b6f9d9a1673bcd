"""Splits that leak on purpose, because an ingest had `split_by: image`: every result made from them says so."""

from collections.abc import Mapping


def leak_mark(leaking_groups: Mapping[str, int]) -> str:
    """In a line what `Manifest.leaking_groups` means; empty where nothing was split by image.

    Args:
        leaking_groups: by the key of each ingest behind a result, how many leak groups lie in several splits.
    """
    if not leaking_groups:
        return ""
    groups = sum(leaking_groups.values())
    if not groups:
        return "split by image: no leak group happens to lie in several splits"
    groups_lie = "1 leak group lies" if groups == 1 else f"{groups:,} leak groups lie"
    return f"split by image: {groups_lie} in several splits, so scores on val and test images are inflated"
