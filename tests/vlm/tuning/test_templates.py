"""What the model has to say is found in any template, or the template is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from dermray.config import ConfigError
from dermray.datasets.decode import decode
from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import IGNORED, Conversation
from dermray.vlm.tuning.templates import ChatTemplate, messages_of
from tests.vlm.tuning.conftest import Family, picture
from tests.vlm.tuning.tiny import LLAVA, QWEN, SMOLVLM, WORDS

QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
TURNS = (
    ("What is it?", "An asymmetric lesion, red."),
    ("  Are you sure?\n", " Ünïcode 黒色:\n\n- one\n- two 🙂 \n"),
    ("user: and this?", "ASSISTANT: User: model\nassistant"),
)


def conversation(*turns: tuple[str, str]) -> Conversation:
    return Conversation("a", picture(40, 56), turns)


def labels_of(processor: Any, talk: Conversation, **variables: Any) -> str:
    labels = Collator(processor, variables=variables)([talk])["labels"][0]
    return str(processor.tokenizer.decode(labels[labels != IGNORED]))


def with_template(family: Family, template: str | None) -> Any:
    processor = copy.copy(family.processor)
    processor.chat_template = template
    return processor


@pytest.mark.parametrize("turns", [TURNS[:1], TURNS[1:2], TURNS])
def test_labels_are_the_answers_and_their_ends(family: Family, turns: tuple[tuple[str, str], ...]) -> None:
    expected = "".join(family.lead + answer.strip() + family.end for _, answer in turns)
    assert labels_of(family.processor, conversation(*turns)) == expected


def test_the_first_answer_follows_the_prompt_of_generation(family: Family) -> None:
    """Tokens before the first label are those that transformers would generate from."""
    talk = conversation(*TURNS)
    batch = Collator(family.processor)([talk])
    first = int((batch["labels"][0] != IGNORED).nonzero()[0])
    asked = messages_of(talk)[:1]
    asked[0]["content"][0]["image"] = decode(talk.image)
    prompt = family.processor.apply_chat_template(
        asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert batch["input_ids"][0, :first].tolist() == prompt["input_ids"][0].tolist()


def test_text_is_the_processors(family: Family) -> None:
    template, talk = ChatTemplate(family.processor), conversation(*TURNS)
    whole = family.processor.apply_chat_template(messages_of(talk))
    rendered = template.render(talk).text
    assert rendered == whole.removesuffix(" ") + (family.end if family.name == "llava" else "")


def test_llava_ends_each_answer_where_its_template_does_not(family_of: Callable[[str], Family]) -> None:
    """The template has no end of turn. The input stays what it writes; after each answer the label is eos."""
    family = family_of("llava")
    batch = Collator(family.processor)([conversation(*TURNS[:2])])
    eos, ids, labels = family.processor.tokenizer.eos_token_id, batch["input_ids"][0], batch["labels"][0]
    assert (labels == eos).nonzero().flatten().tolist()[-1] == len(ids) - 1
    assert (ids == eos).sum() == 1 and (labels == eos).sum() == 2
    assert "".join(family.processor.tokenizer.decode(ids).split("<image>")).count("ASSISTANT:") == 2


def test_the_marks_of_a_template_agree(family_of: Callable[[str], Family]) -> None:
    """What lies in {% generation %} by transformers' own account is learned, but for the space after it.

    Of one turn: where " USER" is one token, transformers counts it to the answer before, because of its space.
    """
    family = family_of("llava")
    marked = family.processor.tokenizer.apply_chat_template(
        messages_of(conversation(TURNS[0])),
        chat_template=family.processor.chat_template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids = [token for token, mask in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if mask]
    said = family.processor.tokenizer.decode(ids).rstrip() + family.end
    assert said == labels_of(family.processor, conversation(TURNS[0]))


def sentencepiece(named: dict[str, str]) -> PreTrainedTokenizerFast:
    """As Llama 2's, with which LLaVA 1.5 comes: a mark for each space, bytes for letters that it does not know."""
    letters = sorted(set("".join(WORDS).replace(" ", "\u2581")) | {"\n"})
    pieces = [*named.values(), "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    model = models.BPE({piece: place for place, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(list(named.values()))
    first = [("<s>", tokenizer.token_to_id("<s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=first)
    known = {key: named[key] for key in ("pad_token", "bos_token", "eos_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **known, name_or_path="sentencepiece")


@pytest.mark.parametrize("name", ["llava", "qwen3_vl"])
def test_a_tokenizer_that_marks_spaces(name: str, family_of: Callable[[str], Family]) -> None:
    """The same answers by other tokens, whichever template writes them."""
    family = family_of("llava")
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "image_token": "<image>"}
    ends = {"llava": "</s>", "qwen3_vl": "<|im_end|>"}[name]
    more = {token: token for token in ("<|im_start|>", "<|im_end|>")} if name == "qwen3_vl" else {}
    processor = with_template(family, LLAVA if name == "llava" else QWEN.replace(QWEN_IMAGE, "<image>"))
    processor.tokenizer = sentencepiece({**named, **more})
    expected = "".join(" " * (name == "llava") + answer.strip() + ends for _, answer in TURNS)
    labels = Collator(processor)([conversation(*TURNS)])["labels"][0]
    said = processor.tokenizer.decode(labels[labels != IGNORED])
    assert said.strip() == expected.strip()  # the decoder strips the first mark


# Qwen/Qwen3-4B, tokenizer_config.json: the last answer opens with an empty thought, earlier ones do not.
THINKING = QWEN.replace(
    "{{ '<|im_start|>' + message.role + '\n' }}",
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if loop.last and message.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
).replace(
    "{{ '<|im_start|>assistant\n' }}",
    "{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
)


def test_a_thought_is_never_learned(family_of: Callable[[str], Family]) -> None:
    processor = with_template(family_of("qwen3_vl"), THINKING)
    assert labels_of(processor, conversation(TURNS[0])) == "An asymmetric lesion, red.<|im_end|>"
    with pytest.raises(ConfigError, match="turns: separate"):
        Collator(processor).check_several_turns()
    with pytest.raises(ConfigError, match="enable_thinking: false"):
        Collator(processor, variables={"enable_thinking": True})
    with pytest.raises(ConfigError, match=r"template=\['enable_thought'\]: .* has no such variables"):
        Collator(processor, variables={"enable_thought": False})


def test_marks_help_where_earlier_turns_are_written_otherwise(family_of: Callable[[str], Family]) -> None:
    text = "{{ content.text }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    assert text in THINKING
    marked = THINKING.replace(
        text,
        "{% if message.role == 'assistant' %}{% generation %}{{ content.text }}{{ '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ content.text }}{{ '<|im_end|>' }}{% endif %}{% endif %}{% endfor %}{% endif %}{{ '\n' }}",
    )
    processor = with_template(family_of("qwen3_vl"), marked)
    Collator(processor).check_several_turns()
    expected = "".join(answer.strip() + "<|im_end|>" for _, answer in TURNS)
    assert labels_of(processor, conversation(*TURNS)) == expected


def test_a_default_system_prompt_is_no_answer(family_of: Callable[[str], Family]) -> None:
    system = "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}"
    processor = with_template(family_of("qwen3_vl"), system + QWEN)
    assert labels_of(processor, conversation(TURNS[0])) == "An asymmetric lesion, red.<|im_end|>"


def test_dates_stand_still(family_of: Callable[[str], Family]) -> None:
    """Llama 3.2's template writes today's date where it writes one: with it a resumed run would differ."""
    family = family_of("mllama")
    dated = family.processor.chat_template.replace("if not ns.images", "if true")
    text = ChatTemplate(with_template(family, dated)).render(conversation(TURNS[0])).text
    assert "Today Date: 26 Jul 2024" in text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        (
            "{% for m in messages %}{{ '<|im_start|>' }}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}",
            "has no place for an image",
        ),
        ("{% for m in messages %}{{ m.role + m.content }}{% endfor %}", "cannot write an image and a question"),
        (QWEN.replace("<|image_pad|>", ""), "writes no <.image_pad.> for an image"),
        (QWEN.replace("{{ content.text }}", "{{ content.text | upper }}"), "expected it unchanged"),
    ],
)
def test_templates_that_do_not_fit(family_of: Callable[[str], Family], template: str | None, message: str) -> None:
    processor = with_template(family_of("qwen3_vl"), template)
    with pytest.raises(ConfigError, match=message) as error:
        Collator(processor)
    assert processor.tokenizer.name_or_path in str(error.value), "names the model"


def test_a_tokenizer_is_no_processor(family_of: Callable[[str], Family]) -> None:
    with pytest.raises(ConfigError, match="takes text alone"):
        Collator(family_of("llava").processor.tokenizer)


def test_the_tiny_templates_are_the_published(family_of: Callable[[str], Family]) -> None:
    """Of SmolVLM transformers has the template itself."""
    family = family_of("smolvlm")
    messages = messages_of(conversation(*TURNS))
    for prompt in (messages[:1], messages[:3]):
        published, ours = (
            family.processor.apply_chat_template(prompt, chat_template=template, add_generation_prompt=True)
            for template in (DEFAULT_CHAT_TEMPLATE, SMOLVLM)
        )
        assert published == ours


def test_words_of_the_template_cannot_close_a_turn(family: Family) -> None:
    collator = Collator(family.processor)
    for turn in [("What?", f"Red.{family.end}"), (f"{family.end}What?", "Red.")]:
        problem = collator.problem(conversation(turn))
        assert problem is not None and f"holds {family.end}" in problem
    assert "image" in str(collator.problem(conversation((f"{family.processor.image_token} What?", "Red."))))
    assert collator.problem(conversation(("What?", "<b>Red</b> & [INST]."))) is None


def test_added_tokens_that_are_text_stay_allowed(family_of: Callable[[str], Family]) -> None:
    """As Gemma's runs of line ends; <think> is not, where the template writes it."""
    family = family_of("qwen3_vl")
    processor = with_template(family, THINKING)
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    processor.tokenizer.add_tokens(["\n\n", "<table>", "<think>"])
    collator = Collator(processor)
    assert collator.problem(conversation(("What?", "Red.\n\n<table>"))) is None
    assert "holds <think>" in str(collator.problem(conversation(("What?", "<think>Red"))))


def test_empty_words_and_no_turns(family_of: Callable[[str], Family]) -> None:
    collator = Collator(family_of("llava").processor)
    assert collator.problem(conversation(("What?", " \n"))) == "empty answer"
    assert collator.problem(conversation(("", "Red."))) == "empty question"
    assert collator.problem(conversation()) == "no question and answer"


def test_labels_are_inputs_where_the_template_ends_turns(family: Family) -> None:
    batch = Collator(family.processor)([conversation(*TURNS)])
    said = batch["labels"] != IGNORED
    if family.name == "llava":
        said &= batch["labels"] != family.processor.tokenizer.eos_token_id
    assert torch.equal(batch["labels"][said], batch["input_ids"][said])
