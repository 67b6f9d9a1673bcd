"""What the four papers' runs cost in GPU-hours: arithmetic, nothing is run.

    python -m benchmarks.papers_on_paper

Prints a table in Markdown. Operations are those of `dermray plan`, counted by benchmarks.papers_operations at published
size; counts and steps are the papers'; rates are those of dermray/planning/rates.yaml, each with its document.
GPU-hours are operations over the card's peak times an assumed utilisation, or images over a published rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dermray.classification.sweep_settings import SweepConfig
from dermray.config import load, preset
from dermray.planning.counting import Drawing, counted
from dermray.planning.rates import answer_seconds, card, operations_per_second, rates
from dermray.planning.stages import classifying
from dermray.planning.told import hours_told

CARDS = ("H100", "A100")  # of computed work
# Assumed: no paper says how long prompts and answers are.
LENGTHS = rates().lengths
CAPTION = (LENGTHS.image + LENGTHS.instruction, LENGTHS.caption)
QUESTION = (LENGTHS.question, LENGTHS.pair)
TEXT_TOKENS = LENGTHS.conversation  # of a question with its answer, for the language model of DermatoLlama
HAM10000, ISIC = 10_015, 71_372 - 14_310  # ISIC 2016 to 2020: training images of the challenges less those that repeat
DERMAFLUX = {128: 400_901, 256: 22_140, 512: 85_303}  # images by training scale


@dataclass(frozen=True)
class Line:
    """A stage of a paper.

    Args:
        kind: what the figure rests on. operations: of the whole stage, None where a rate is published.
        hours: by card; none where nothing was found that it could be computed from.
    """

    paper: str
    stage: str
    amount: str
    kind: str
    hours: dict[str, float]
    operations: float | None = None


def gpu_hours(operations: float, precision: str) -> dict[str, float]:
    """By card: operations over what the card does in an hour."""
    return {name: operations / operations_per_second(name, precision) / 3600 for name in CARDS}


def answer_hours(answers: int, tokens: tuple[int, int]) -> dict[str, float]:
    """Of so many answers, each of a prompt and an answer of so many tokens, by a model of 7 billion weights."""
    return {rates().answers.card: answers * answer_seconds(*tokens) / 3600}


def utilisation(operations: float, seconds: float, name: str) -> float:
    """Of a card's peak, that a published time amounts to, in bfloat16 or float16."""
    return operations / seconds / card(name).bf16


def flux_step(side: int, times: tuple[float, float] = (1, 1)) -> float:
    """Operations of FLUX.1's transformer with LoRA of rank 64 on attention, once forward, of one image of `side` px.

    d = 3072, 19 double and 38 single blocks: 12 d^2 weights a token in each of both, which is twice as many operations;
    attention's two products, each 2 T d a token. Of 512 tokens of text and one for each 16 x 16 px.

    Args:
        times: that the products with weights and those of attention are made.
    """
    width, blocks, tokens = 3072, 19 + 38, (side // 16) ** 2 + 512
    adapters = 2 * 64 * (19 * 4 + 38 * 3)  # of rank 64, by d, a token
    weights = tokens * (blocks * 12 * width**2 + adapters * width) + 342 * width**2  # modulation: once an image
    return 2 * weights * times[0] + 4 * blocks * tokens**2 * width * times[1]


def flux_trained(counted: int, side: int) -> float:
    """Operations of a training step, an image: those counted at 512 px by the ratio of the equations.

    Frozen weights take part three times: forward, forward again, gradients passed on. Attention is 2.5 times as much
    backward, as it computes its weights once more.
    """
    times = (3, 2 + 2.5)
    return counted * flux_step(side, times) / flux_step(512, times)


def swept(name: str) -> tuple[int, int]:
    """Trainings of a preset of the sweep, and the images that one backbone trains on in all of them."""
    return classifying.swept(load(SweepConfig, preset(f"sweep/{name}")))


def _computed(paper: str, stage: str, amount: str, operations: float, precision: str = "bf16") -> Line:
    return Line(paper, stage, amount, "computed", gpu_hours(operations, precision), operations)


def _published(paper: str, stage: str, amount: str, hours: dict[str, float]) -> Line:
    return Line(paper, stage, amount, "published rate", hours)


def _trained_on(images: float, backbone: str) -> dict[str, float]:
    of = rates().training
    return {of.card: images / of.images_per_second[backbone] / 3600}


def _features_of(images: float) -> dict[str, float]:
    of = rates().features
    return {of.card: images / of.images_per_second["inception"] / 3600}


def _drawn(counted: dict[str, Any], steps: int) -> int:
    """Operations of an image."""
    return Drawing(counted["draw"], counted["step"]).of(steps)


def glide(counted: dict[str, dict[str, Any]]) -> Iterator[Line]:
    """Paper 000. Captions are templates; in full precision."""
    of, paper = counted["glide"], "000 GLIDE"
    seen = 60 * HAM10000
    yield _computed(paper, "training", f"60 epochs of {HAM10000:,}, both stages", seen * of["train"], "tf32")
    yield _computed(paper, "sampling", f"{HAM10000:,} images, 100 + 27 steps", HAM10000 * _drawn(of, 100), "tf32")
    images = 2 * HAM10000
    yield _published(paper, "evaluation", f"Inception on {images:,} images", _features_of(images))
    yield Line(paper, "classifier", "a CNN of three convolutions, at most 100 epochs", "no rate found", {})


def dermdit(counted: dict[str, dict[str, Any]]) -> Iterator[Line]:
    """Paper 001: its Table 1 has five generators, its Table 2 two classifiers."""
    paper, steps, batch = "001 DermDiT", 400_000, 16
    yield _published(paper, "captioning", f"2 x {ISIC:,} images, 7B", answer_hours(2 * ISIC, CAPTION))
    for name, times in (("dermdit", 2), ("dit", 1), ("ldm", 2)):
        amount = f"{times} x {steps:,} steps of {batch}, {name}"
        operations = times * (steps * batch * counted[name]["train"] + ISIC * counted[name]["encode"])
        yield _computed(paper, "training", amount, operations)
    for name, images in (("dermdit", 100_000), ("dit", 30_000), ("ldm", 80_000)):
        amount = f"{images:,} images, 250 steps, {name}"
        yield _computed(paper, "sampling", amount, images * _drawn(counted[name], 250))
    images = 2 * (210_000 + ISIC)
    amount = f"two Inceptions on {images // 2:,} images"
    yield _published(paper, "evaluation", amount, _features_of(images))
    hours = _trained_on(10 * (ISIC + 50_000), "resnext101_32x8d")
    yield _published(paper, "classifiers", f"ResNeXt-101, 10 epochs of {ISIC:,} and of 50,000", hours)


def dermaflux(counted: dict[str, dict[str, Any]]) -> Iterator[Line]:
    """Paper 002: each image at its own scale, as our preset has it; encoded all at 512 px, which is too much."""
    paper, images = "002 DermaFlux", sum(DERMAFLUX.values())
    yield _published(paper, "captioning", f"{images:,} images, at the rate of 7B", answer_hours(images, CAPTION))
    flux = counted["flux_512"]
    yield _computed(paper, "encoding", f"{images:,} images and captions, once", images * flux["encode"])
    for side, count in DERMAFLUX.items():
        amount = f"5 epochs of {count:,} at {side} px"
        yield _computed(paper, "training", amount, 5 * count * flux_trained(flux["train"], side))
    for drawn in (6_000, 20_000):
        amount = f"{drawn:,} images of 512 px, 20 steps"
        yield _computed(paper, "sampling", amount, drawn * _drawn(flux, 20))
    for name in ("dermaflux_sources", "dermaflux_ratios"):
        trials, seen = swept(name)
        for backbone in ("resnext50_32x4d", "vit_base_patch16_224"):
            amount = f"`sweep/{name}`: {trials} trainings, {seen / 1e6:.1f} million images, {backbone}"
            yield _published(paper, "sweep", amount, _trained_on(seen, backbone))


def dermasynth(counted: dict[str, dict[str, Any]]) -> Iterator[Line]:
    """Paper 003: its answers came from an API. Three epochs are ours: the abstract gives the number of samples."""
    paper, of = "003 DermaSynth", counted["llama_vision"]
    yield Line(paper, "questions and answers", "92,020 pairs by Gemini 2.0, an API", "no GPU of one's own", {})
    yield _published(paper, "the same, hosted", "92,020 pairs, 7B", answer_hours(92_020, QUESTION))
    # Frozen weights pass gradients on and have none: forward, forward again, backward. None reach the image encoder.
    sample = of["vision"] + 3 * of["text"]
    amount = f"3 epochs of 5,000 samples of {TEXT_TOKENS} tokens, LoRA"
    yield _computed(paper, "fine-tuning", amount, 3 * 5_000 * sample)


def lines(counted: dict[str, dict[str, Any]]) -> list[Line]:
    """All stages of all papers."""
    return [line for paper in (glide, dermdit, dermaflux, dermasynth) for line in paper(counted)]


def table(rows: list[Line]) -> str:
    """Markdown."""
    cards = ("H100", "A100", "H200", "RTX 3090")
    head = ["paper", "stage", "amount", "operations", *(f"{card} h" for card in cards), "figure"]
    told = [
        [row.paper, row.stage, row.amount, "" if row.operations is None else f"{row.operations:.2e}",
         *(hours_told(row.hours.get(card)) for card in cards), row.kind]
        for row in rows
    ]  # fmt: skip
    return markdown(head, told)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def main() -> None:
    """The table, and what published times say of the utilisation."""
    print(table(lines(counted())))
    for how, seconds in rates().flux_image.items():
        print(f"\nFLUX.1-dev on an H100, {how}: {utilisation(50 * flux_step(1024), seconds, 'H100'):.2f} of its peak")
    # of Stable Diffusion 1's U-Net, which is nearly as large: forward, and twice as much backward
    unet = utilisation(3 * counted()["ldm"]["step"] * rates().unet_images, 1, "A100")
    print(f"\nStable Diffusion's U-Net trained on A100s: {unet:.2f} of their peak")


if __name__ == "__main__":
    main()
