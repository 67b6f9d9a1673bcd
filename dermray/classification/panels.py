"""Which classifiers a panel of a picture shows, and in words what its curves are means of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.verdict import ZERO_SHOT

MOST_PANELS = 6  # with more, a curve can no longer be read
MOST_MATRICES = 12  # in one picture

# What tells panels apart: as much as there are panels for.
APART: tuple[Callable[[Scored], tuple[object, ...]], ...] = (
    lambda s: (s.backbone, s.real_images),
    lambda s: (s.real_images,),
    lambda s: (s.backbone,),
    lambda s: (),
)


class Panel(NamedTuple):
    """Classifiers that are shown together."""

    title: str
    scored: list[Scored]  # zero-shot ones are in every panel


def panels(scored: Sequence[Scored]) -> list[Panel]:
    """One for each backbone and real count; where these would be too many, for each real count, or backbone."""
    trained = [s for s in scored if s.role != ZERO_SHOT]
    others = [s for s in scored if s.role == ZERO_SHOT]
    apart = next(key for key in APART if len(set(map(key, trained))) <= MOST_PANELS)
    cells = [[s for s in trained if apart(s) == key] for key in dict.fromkeys(map(apart, trained))]
    return [Panel(_title(members), members + others) for members in cells]


def smallest(scored: Sequence[Scored]) -> list[Scored]:
    """The classifiers of the smallest real count, and zero-shot ones."""
    few = min(s.real_images for s in scored if s.role != ZERO_SHOT)
    return [s for s in scored if s.real_images == few or s.role == ZERO_SHOT]


def captions(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> dict[str, str]:
    """What the pictures of classifiers show, by file name."""
    classes, shown, few = len(held_out[0].classes), panels(scored)[0], smallest(scored)
    arms = len(dict.fromkeys(s.arm for s in scored))
    matrices = f"; the first {MOST_MATRICES} of {arms} arms" if arms > MOST_MATRICES else ""
    against_rest = [f"{classes} classes, each against the rest"] if classes > 2 else []
    return {
        "roc.png": f"ROC: each curve is the mean over {_listed(_averaged(shown.scored) + against_rest)}.",
        "reliability.png": f"Reliability: each curve takes together {_listed(_averaged(shown.scored))}.",
        "confusion.png": f"Confusion: each matrix is the mean over {_listed(_averaged(few))} at {_counts(few)}"
        f"{matrices}.",
    }


def _title(members: Sequence[Scored]) -> str:
    backbones = list(dict.fromkeys(s.backbone for s in members))
    backbone = backbones[0] if len(backbones) == 1 else f"mean of {len(backbones)} backbones"
    return f"{backbone}, {_counts(members)}"


def _counts(members: Sequence[Scored]) -> str:
    counts = sorted({s.real_images for s in members if s.role != ZERO_SHOT})
    return f"{counts[0]} real images" if len(counts) == 1 else f"mean of {len(counts)} numbers of real images"


def _averaged(members: Sequence[Scored]) -> list[str]:
    trained = [s for s in members if s.role != ZERO_SHOT]
    numbers = {
        "seeds": len({s.seed for s in trained}),
        "splits": len({s.split for s in trained}),
        "backbones": len({s.backbone for s in trained}),
        "numbers of real images": len({s.real_images for s in trained}),
    }
    return [f"{number} {what}" for what, number in numbers.items() if number > 1] or ["one seed"]


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
