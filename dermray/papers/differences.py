"""Why a number of ours and a paper's cannot be compared: a rule a circumstance, each a clause after `because`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from dermray.papers.measured import Measured
from dermray.papers.published import Cell
from dermray.papers.setting import Setting

Scale = Literal["nano", "paper"]
NANO = "this is nano scale: small models that learned for minutes from few images"
BIASED = ("frechet_all", "frechet_distance", "inception_score")  # by the number of images, whatever these show
NEAR = 0.02  # numbers of images that differ by less are the same: papers round them
SIDES = {"train": "the generator's training images", "held_out": "images that no generator saw", "all": "all images"}


def reasons(cell: Cell, ours: Measured, scale: Scale) -> list[str]:
    """All that apply; none where the two can be compared."""
    found = [NANO] if scale == "nano" else []
    found += [cell.never] if cell.never else []
    found += [text for rule in RULES if (text := rule(cell.setting, ours.setting))]
    if ours.where["metric"] in BIASED and (text := _biased(cell.setting, ours.setting)):
        found.append(text)
    return found + list(ours.doubts)


def _data(paper: Setting, ours: Setting) -> str | None:
    if paper.data is None:
        return None
    if ours.data is None:
        return f"nothing tells of which data set our images are; the paper's are of {', '.join(paper.data)}"
    if set(paper.data) == set(ours.data):
        return None
    return f"ours are images of {', '.join(ours.data)}, the paper's of {', '.join(paper.data)}"


def _split(paper: Setting, ours: Setting) -> str | None:
    if paper.split == "random" and ours.split == "grouped":
        return "the paper splits at random, so that images of one lesion lie on both sides; ours lie on one"
    if paper.split == "official" and ours.split == "grouped":
        return (
            "the paper tests on published test splits as they are; ours share no patient, lesion or copy with training"
        )
    if paper.split == "official" and ours.split == "random":
        return (
            "the paper tests on published test splits; ours are drawn at random, image by image, so that lesions leak"
        )
    if paper.split == "random" and ours.split == "official":
        return "the paper splits at random; ours is the published test split"
    return None


def _tested_on(paper: Setting, ours: Setting) -> str | None:
    if paper.tested_on == "pool" and ours.tested_on == "real":
        return "the paper splits synthetic and real images together, and tests on both; ours are tested on real ones"
    return None


def _tested_data(paper: Setting, ours: Setting) -> str | None:
    if paper.tested_data is None:
        return None
    if ours.tested_data is None:
        return f"nothing tells what ours are tested on; the paper's are tested on {', '.join(paper.tested_data)}"
    if set(paper.tested_data) == set(ours.tested_data):
        return None
    return f"ours are tested on images of {', '.join(ours.tested_data)}, the paper's on {', '.join(paper.tested_data)}"


def _real(paper: Setting, ours: Setting) -> str | None:
    if paper.real and ours.real and paper.real != ours.real:
        return f"the paper compares with {SIDES[paper.real]}, ours with {SIDES[ours.real]}"
    return None


def _extractor(paper: Setting, ours: Setting) -> str | None:
    if paper.extractor and ours.extractor and paper.extractor != ours.extractor:
        return f"other features: ours are of {ours.extractor}, the paper's of {paper.extractor}"
    return None


def _image_size(paper: Setting, ours: Setting) -> str | None:
    if paper.image_size and ours.image_size and paper.image_size != ours.image_size:
        return f"ours are images of {ours.image_size} px, the paper's of {paper.image_size}"
    return None


def _pairing(paper: Setting, ours: Setting) -> str | None:
    if paper.pairing and ours.pairing and paper.pairing != ours.pairing:
        return (
            f"ours are compared with real images by the rule {ours.pairing!r}; with which ones the paper's are, is "
            f"{paper.pairing}"
        )
    return None


def _generator(paper: Setting, ours: Setting) -> str | None:
    if paper.generator and ours.generator and paper.generator != ours.generator:
        return f"ours are drawn by {ours.generator}, the paper's by {paper.generator}"
    return None


def _backbone(paper: Setting, ours: Setting) -> str | None:
    if paper.backbone and ours.backbone and not ours.backbone.startswith(paper.backbone):
        return f"our classifier is {ours.backbone}, the paper's {paper.backbone}"
    return None


def _threshold(paper: Setting, ours: Setting) -> str | None:
    if paper.threshold == "not told" and ours.threshold == "validation":
        return (
            "ours are decided at a threshold that validation images chose, the paper's at one that it does not tell "
            "(threshold: 0.5 decides at the usual one)"
        )
    return None


def _real_images(paper: Setting, ours: Setting) -> str | None:
    if paper.real_images is not None and ours.real_images is not None and paper.real_images != ours.real_images:
        return f"ours learned from {ours.real_images:,} real images, the paper's from {paper.real_images:,}"
    return None


def _synthetic_images(paper: Setting, ours: Setting) -> str | None:
    if paper.synthetic_images is None or ours.synthetic_images is None:
        return None
    if paper.synthetic_images == ours.synthetic_images:
        return None
    return f"ours learned from {ours.synthetic_images:,} synthetic images, the paper's from {paper.synthetic_images:,}"


def _images(paper: Setting, ours: Setting) -> str | None:
    if paper.images and ours.images and abs(paper.images - ours.images) > NEAR * paper.images:
        return f"ours are measured on {ours.images:,} images, the paper's on {paper.images:,}"
    return None


def _biased(paper: Setting, ours: Setting) -> str | None:
    """Where `_images` has nothing to say because nobody tells."""
    untold = [name for name, n in (("synthetic", paper.images), ("real", paper.of_real)) if n is None]
    if untold:
        return (
            f"it depends on the number of images, and the paper does not tell that of the {' and '.join(untold)} ones"
        )
    assert paper.of_real is not None
    if ours.of_real and abs(paper.of_real - ours.of_real) > NEAR * paper.of_real:
        return f"it depends on the number of real images: ours are {ours.of_real:,}, the paper's {paper.of_real:,}"
    return None


Rule = Callable[[Setting, Setting], str | None]
RULES: tuple[Rule, ...] = (
    _data, _split, _tested_on, _tested_data, _real, _extractor, _image_size, _pairing, _generator, _backbone,
    _threshold, _real_images, _synthetic_images, _images,
)  # fmt: skip


def absent(cell: Cell, held: Sequence[str] = ()) -> Iterator[str]:
    """Why there is nothing to compare a paper's number with.

    Args:
        held: sources that results of the cell's stage in this run tell of.
    """
    if cell.never:
        yield cell.never
    if cell.no_stage:
        yield f"no stage of ours writes it: {cell.no_stage}"
    else:
        instead = f"; there are results of {', '.join(held)}" if "source" in cell.ours and held else ""
        yield f"no result of {cell.ours['stage']} in this run has it{instead}"
