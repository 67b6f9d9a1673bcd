"""The rates of rates.yaml, and hours by them."""

from functools import cache
from importlib.resources import as_file, files

from pydantic import Field

from dermray.config import Config, ConfigError, load
from dermray.planning.figure import Figure, assumed, product, total, unknown


class Card(Config):
    """A GPU as its maker describes it."""

    bf16: float = Field(gt=0, description="dense operations a second")
    tf32: float = Field(gt=0, description="the same, of 32-bit numbers on tensor cores")
    bandwidth: float = Field(gt=0, description="bytes a second")
    memory: float = Field(gt=0, description="GiB")
    source: str


class Run(Config):
    """A published run of a language model."""

    tokens_read: int = 0
    tokens: int
    seconds: float


class Answers(Config):
    """How fast a vision-language model answers."""

    card: str
    parameters: int
    reading: Run
    writing: Run
    image_tokens: int
    source: str

    @property
    def read(self) -> float:
        """Tokens of prompts a second, image tokens among them."""
        return self.reading.tokens / self.reading.seconds

    @property
    def written(self) -> float:
        """Tokens of answers a second."""
        return self.writing.tokens / (self.writing.seconds - self.writing.tokens_read / self.read)


class Images(Config):
    """Images a second, by network."""

    card: str
    images_per_second: dict[str, float]
    source: str


class Lengths(Config):
    """Tokens, assumed."""

    instruction: int
    image: int
    caption: int
    question: int
    pair: int
    conversation: int


class TwoCores(Config):
    """A stage that was timed."""

    amount: int
    of: str
    seconds: float


class Rates(Config):
    """All of rates.yaml."""

    utilisation: float = Field(gt=0, le=1)
    cards: dict[str, Card]
    answers: Answers
    training: Images
    features: Images
    flux_image: dict[str, float]
    unet_images: float
    lengths: Lengths
    two_cores: dict[str, TwoCores]


@cache
def rates() -> Rates:
    """Read once."""
    with as_file(files(__package__).joinpath("rates.yaml")) as path:
        return load(Rates, path)


def card(name: str) -> Card:
    """A GPU by its name, in any case.

    Raises:
        ConfigError: nothing is known of it.
    """
    return rates().cards[card_name(name)]


def card_name(given: str) -> str:
    """As rates.yaml spells it; raises as `card` does."""
    known = {name.lower(): name for name in rates().cards}
    if given.lower() not in known:
        raise ConfigError(f"--gpu {given}: expected one of {', '.join(rates().cards)}; others are added to rates.yaml")
    return known[given.lower()]


def operations_per_second(gpu: str, precision: str, utilisation: float | None = None) -> float:
    """Of computed work on a card.

    Args:
        precision: bf16 or tf32. utilisation: of its peak; the assumed one if None.
    """
    peak: float = getattr(card(gpu), precision)
    return peak * (rates().utilisation if utilisation is None else utilisation)


def hours(operations: Figure, gpu: str, precision: str) -> Figure:
    """GPU-hours of computed work.

    Args:
        precision: bf16 or tf32.
    """
    seconds = 1 / operations_per_second(gpu, precision)
    why = f"operations over {rates().utilisation:g} (assumed) of the {gpu}'s peak in {precision}"
    return product([operations, assumed(seconds / 3600, why)], why)


def answer_seconds(read: float, written: float) -> float:
    """Of one answer on the published run's card, by its model of 7 billion weights.

    Args:
        read: tokens of the prompt. written: tokens of the answer.
    """
    of = rates().answers
    return read / of.read + written / of.written


def answer_hours(read: Figure, written: Figure, parameters: Figure, gpu: str) -> Figure:
    """GPU-hours of answers by vLLM: those of the published run, in proportion to the weights, on another card.

    Args:
        read, written: tokens of all answers. parameters: the model's weights.
    """
    of = rates().answers
    why = f"{of.read:,.0f} tokens read and {of.written:,.0f} written a second: {of.source}{_other_card(of.card, gpu)}"
    seconds = [
        product([tokens, Figure(1 / rate, "published", of.source)], why)
        for tokens, rate in ((read, of.read), (written, of.written))
    ]
    if parameters.value is None or any(of.value is None for of in seconds):
        return unknown(next(each.why for each in (read, written, parameters) if each.value is None))
    size = parameters.value / of.parameters
    if size != 1:
        why += (
            f"; assumed in proportion to the weights, {parameters.value / 1e9:.3g} of {of.parameters / 1e9:.3g} billion"
        )
    alike = size == 1 and of.card == gpu
    scale = size / slower(of.card, gpu) / 3600
    return product([total(seconds, why), Figure(scale, "published" if alike else "assumed", why)], why)


def image_hours(images: Figure, by: Images, network: str, gpu: str) -> Figure:
    """GPU-hours of images at a published rate.

    Raises:
        KeyError: none is known of this network.
    """
    why = f"{by.images_per_second[network]:,.0f} images/s: {by.source}{_other_card(by.card, gpu)}"
    each = 1 / by.images_per_second[network] / slower(by.card, gpu) / 3600
    same = by.card == gpu
    return product([images, Figure(each, "published" if same else "assumed", why)], why)


def slower(measured_on: str, gpu: str) -> float:
    """How many times as fast `gpu` is, at least: by operations or by memory, whichever gains less."""
    one, other = card(measured_on), card(gpu)
    return min(other.bf16 / one.bf16, other.bandwidth / one.bandwidth)


def _other_card(measured_on: str, gpu: str) -> str:
    if measured_on == gpu:
        return ""
    times = slower(measured_on, gpu)
    return f"; {gpu} assumed {times:.2g} times as fast, by peak or memory bandwidth, whichever gains less"
