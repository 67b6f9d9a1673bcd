"""Stages that ask a vision-language model: for captions, question-answer pairs, comparisons, known answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dermray.captioning.asking import AskingConfig
from dermray.captioning.comparison.settings import CompareConfig
from dermray.captioning.run import CaptionConfig
from dermray.captioning.settings import RemoteConfig, VllmConfig
from dermray.planning import head, licences
from dermray.planning.estimate import Asked, Estimate, no_gpu, on_two_cores
from dermray.planning.figure import Figure, assumed, at_most, computed, product, total, unknown
from dermray.planning.outlook import Outlook, Rows
from dermray.planning.rates import answer_hours, rates
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.vqa.questions import NAMES
from dermray.vlm.vqa.settings import VqaConfig


@dataclass(frozen=True)
class Answers:
    """Answers by one model.

    Args:
        read, written: tokens of an answer's prompt, image included, and of the answer. longest: tokens it may have.
    """

    count: Figure
    captioner: str | None
    host: VllmConfig | RemoteConfig
    read: Figure
    written: Figure
    longest: int


def caption(config: CaptionConfig, asked: Asked) -> Estimate:
    """One answer a row."""
    rows = _asked_about(config, asked)
    answers = [_captions(config, rows.total)]
    amounts = {"rows": rows.total, **_tokens(answers), **_head(rows.total, config)}
    if _nano(config.captioner, asked):
        amounts |= on_two_cores("caption", rows.total)
    return Estimate(amounts, _hours(answers, asked), _usable(rows))


def instruct(config: InstructConfig, asked: Asked) -> Estimate:
    """Two questions a row in one request, and new ones in another."""
    rows, lengths, most = _asked_about(config, asked), rates().lengths, config.sampling.max_tokens
    requests = [(rows.total, 2)]
    if new := config.self_instruct:
        some = rows.total if new.images is None else computed(new.images, "self_instruct.images")
        requests.append((some, new.questions))
    read = assumed(lengths.question, "an image with metadata and a question: rates.yaml")
    answers = [
        Answers(count, config.captioner, config.host, read, _short(lengths.pair * pairs, most), most)
        for count, pairs in requests
    ]
    pairs = total([product([count, computed(each, "a request")], "") for count, each in requests], "pairs asked for")
    amounts = {"rows": rows.total, "pairs": at_most(pairs), **_tokens(answers), **_head(rows.total, config)}
    return Estimate(amounts, _hours(answers, asked), _usable(rows))


def compare(config: CompareConfig, asked: Asked) -> Estimate:
    """Some images, by each captioner."""
    images = at_most(computed(config.images, "images, fewer where there are fewer"))
    answers = [_captions(one, images) for one in config.caption_configs().values()]
    return Estimate({"images": images, **_tokens(answers)}, _hours(answers, asked))


def vqa(config: VqaConfig, asked: Asked) -> Estimate:
    """Some images, each with several questions, by each captioner."""
    images = at_most(computed(config.images, "images, fewer where the split has fewer"))
    questions = computed(len(config.questions or NAMES), "questions, where an image has answers to all")
    count = at_most(product([images, questions], "images x questions"))
    lengths, most = rates().lengths, config.sampling.max_tokens
    written = _short(lengths.caption, most)
    answers = [
        Answers(count, who.captioner, config.host(who), _prompt(who.captioner, config.image_side), written, most)
        for who in config.captioners
    ]
    return Estimate({"images": images, "questions": count, **_tokens(answers)}, _hours(answers, asked))


def _captions(config: CaptionConfig, count: Figure) -> Answers:
    most = config.sampling.max_tokens
    written = _short(rates().lengths.caption, most)
    return Answers(count, config.captioner, config.host, _prompt(config.captioner, config.image_side), written, most)


def _asked_about(config: AskingConfig, asked: Asked) -> Rows:
    rows = asked.results.rows(config.rows)
    if config.retry_failed is None:
        return rows
    why = "all rows; only those that failed or were rejected before are asked about again"
    return Rows(at_most(rows.total, why), rows.train, rows.val, rows.test)


def _usable(rows: Rows) -> Rows:
    """Of the result: answers may be rejected."""
    return Rows(*(at_most(figure) for figure in (rows.total, rows.train, rows.val, rows.test)))


def _prompt(captioner: str | None, image_side: int) -> Figure:
    """Tokens of an image with an instruction."""
    lengths, known = rates().lengths, licences.known_weights(captioner)
    if known and known.token_side:
        image = math.ceil(image_side / known.token_side) ** 2
        why = f"{image} of a square image of {image_side} px (image_side) and {lengths.instruction} of text"
        return at_most(assumed(image + lengths.instruction, why))
    own = known.image_tokens if known else None
    image, whose = own or lengths.image, "its own" if own else "LLaVA-1.5's"
    return assumed(image + lengths.instruction, f"{image} of the image ({whose}) and {lengths.instruction} of text")


def _short(usual: int, most: int) -> Figure:
    return assumed(min(usual, most), f"{min(usual, most)} an answer, which may have {most}")


def _tokens(answers: Sequence[Answers]) -> dict[str, Figure]:
    longest = [product([of.count, computed(of.longest, "")], "sampling.max_tokens each") for of in answers]
    tokens = {
        "tokens read": total([_all(of.count, of.read) for of in answers], answers[0].read.why),
        "tokens written": total([_all(of.count, of.written) for of in answers], answers[0].written.why),
        "tokens written, longest": at_most(total(longest, "sampling.max_tokens each")),
    }
    return tokens | _endpoint_price(answers)


def _endpoint_price(answers: Sequence[Answers]) -> dict[str, Figure]:
    """Of endpoints whose config says what a million tokens cost."""
    prices, why = list[Figure](), "remote.price_in and price_out, each for a million tokens"
    for of in answers:
        if isinstance(of.host, RemoteConfig) and of.host.price_in is not None and of.host.price_out is not None:
            rates_of = ((of.read, of.host.price_in), (of.written, of.host.price_out))
            prices += [product([of.count, tokens, computed(price / 1e6, why)], why) for tokens, price in rates_of]
    return {"endpoint's price": total(prices, why)} if prices else {}


def _all(count: Figure, each: Figure) -> Figure:
    return product([count, each], each.why)


def _head(rows: Figure, config: AskingConfig) -> dict[str, Figure]:
    """What the head node needs: no GPU, but memory."""
    if rows.value is None:
        return {}
    needs = head.head(int(rows.value), config.rows_per_block)
    why = f"{needs.blocks:,} blocks, 61 KiB each up to 2,000, 20 KiB beyond: docs/scaling.md"
    return {"memory of the driver (MiB)": Figure(needs.driver, "computed", why, rows.bound)}


def _hours(answers: Sequence[Answers], asked: Asked) -> Figure:
    if all(isinstance(of.host, RemoteConfig) for of in answers):
        return no_gpu("an endpoint answers: its price per token is the provider's")
    hosted = [of for of in answers if isinstance(of.host, VllmConfig)]
    if not any(of.host.gpus for of in hosted):  # type: ignore[union-attr]  # those of VllmConfig
        return no_gpu("engine.gpus=0: it runs on CPUs")
    each = [
        answer_hours(_all(of.count, of.read), _all(of.count, of.written), _parameters(of.captioner, asked), asked.gpu)
        for of in hosted
    ]
    return each[0] if len(each) == 1 else total(each, "of all captioners")


def _parameters(captioner: str | None, asked: Asked) -> Figure:
    assert captioner is not None
    place, made = captioner, asked.results.of(captioner)
    if made is not None and made.stage == "tune-vlm" and made.config is not None:
        place = made.config.base  # an adapter is small
    known = licences.known_weights(place)
    if known is None or known.parameters is None:
        return unknown(f"how many weights {place} has is not known; weights.yaml lists the models that are")
    return Figure(known.parameters, "published", f"{place}: {known.source}")


def _nano(captioner: str | None, asked: Asked) -> bool:
    made: Outlook | None = asked.results.of(captioner) if captioner else None
    return made is not None and made.stage == "captioner"
