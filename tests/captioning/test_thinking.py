"""Thoughts of a model are no captions: by marks in a text, beside the text of a reply, and by vLLM's parsers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermray.captioning import hosted, remote
from dermray.captioning.finish import Finish
from dermray.captioning.hosted import checked, prompt_format, require_dtype
from dermray.captioning.prompts import structured
from dermray.captioning.replies import columns as columns_of
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.captioning.thinking import CUT_IN_THOUGHT, MARKS, parted
from dermray.captioning.unusable import unusable
from dermray.captioning.vllm_engine import columns, engine_arguments
from dermray.captioning.vllm_thinking import Thoughts, let_think
from dermray.config import ConfigError, validate
from tests.captioning.endpoint import Endpoint, ask_all, serving
from tests.captioning.test_replies import reply
from tests.captioning.test_run import CONSTANTS, answered
from tests.captioning.thinkers import QWEN, processor, saved

SAID = "asymmetric lesion, red."
WHAT_IT_THOUGHT = "Is the border regular? It is blue."


@pytest.mark.parametrize(
    ("text", "answer", "within"),
    [
        (SAID, SAID, False),
        (f"<think>\n{WHAT_IT_THOUGHT}\n</think>\n\n{SAID}", SAID, False),
        (f"{WHAT_IT_THOUGHT}\n</think>\n\n{SAID}", SAID, False),  # the prompt opened it
        (f"<think>{WHAT_IT_THOUGHT}", "", True),
        (f"<think>a</think>{SAID}<think>{WHAT_IT_THOUGHT}", SAID, True),
        (f"<think>a<think>b</think>c</think>{SAID}", SAID, False),
        (f"<think>a</think></think>{SAID}", SAID, False),  # Qwen3.5 now and then ends it twice
        (f"<unused94>thought\n{WHAT_IT_THOUGHT}<unused95>{SAID}", SAID, False),
        (f"<|channel>thought\n{WHAT_IT_THOUGHT}<channel|>{SAID}", SAID, False),
        (f"<|channel|>analysis<|message|>{WHAT_IT_THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{SAID}",
         SAID, False),
        ("I think the lesion is < 6 mm.", "I think the lesion is < 6 mm.", False),
    ],
)  # fmt: skip
def test_a_thought_is_parted_from_its_answer(text: str, answer: str, within: bool) -> None:
    assert parted(text) == (answer, within)


@pytest.mark.parametrize("marks", MARKS)
def test_no_word_of_a_thought_passes_whatever_its_marks(marks: tuple[str, str]) -> None:
    start, end = marks
    for text in (f"{start}{WHAT_IT_THOUGHT}{end}{SAID}", f"{WHAT_IT_THOUGHT}{end}{SAID}", f"{start}{WHAT_IT_THOUGHT}"):
        assert parted(text)[0] in (SAID, "")


def test_an_answer_cut_in_its_thought_is_rejected_by_its_own_reason() -> None:
    assert unusable("", CUT_IN_THOUGHT) == "truncated while thinking"
    row = Finish("abc", (), CONSTANTS).row(answered(text=SAID, finish_reason=CUT_IN_THOUGHT))
    assert (row["status"], row["reason"]) == ("rejected", "truncated while thinking")


@pytest.mark.parametrize(
    ("message", "finish_reason", "text", "ended"),
    [
        ({"content": f"<think>{WHAT_IT_THOUGHT}</think>{SAID}"}, "stop", SAID, "stop"),
        ({"content": SAID, "reasoning_content": WHAT_IT_THOUGHT}, "stop", SAID, "stop"),
        ({"content": SAID, "reasoning": WHAT_IT_THOUGHT}, "length", SAID, "length"),  # the answer was cut, no thought
        ({"content": None, "reasoning_content": WHAT_IT_THOUGHT}, "length", "", CUT_IN_THOUGHT),
        ({"content": "", "reasoning": WHAT_IT_THOUGHT}, "length", "", CUT_IN_THOUGHT),
        ({"content": f"<think>{WHAT_IT_THOUGHT}"}, "length", "", CUT_IN_THOUGHT),
        ({"content": None, "reasoning": WHAT_IT_THOUGHT}, "stop", "", "stop"),
        ({"content": [{"type": "text", "text": f"{WHAT_IT_THOUGHT}</think>{SAID}"}]}, "stop", SAID, "stop"),
    ],
)
def test_a_replys_thoughts_are_read_by_nobody(
    message: dict[str, Any], finish_reason: str, text: str, ended: str
) -> None:
    found = columns_of(reply(message, finish_reason))
    assert (found["text"], found["finish_reason"]) == (text, ended)
    assert WHAT_IT_THOUGHT not in json.dumps(found)


def test_thoughts_are_counted_among_tokens_where_only_the_total_has_them() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}  # as Gemini's endpoint has it
    assert columns_of(reply({"content": SAID}, usage=usage))["tokens_out"] == 603
    openai = {"prompt_tokens": 20, "completion_tokens": 603, "total_tokens": 623}
    assert columns_of(reply({"content": SAID}, usage=openai))["tokens_out"] == 603


class Thinker(Endpoint):
    """A server that thinks in its text where the request does not switch it off."""

    said: list[dict[str, Any]] = []

    def reply(self, body: str) -> None:
        asked = json.loads(body)
        self.said.append(asked)
        thinks = asked.get("chat_template_kwargs", {}).get("enable_thinking", True)
        content = f"{WHAT_IT_THOUGHT}</think>\n{SAID}" if thinks else SAID
        self.send(200, reply({"content": content}) | {"id": "x", "model": "m", "created": 1})


def test_a_request_says_how_to_think(tmp_path: Path) -> None:
    Thinker.said.clear()
    how = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low",
           "max_tokens_as": "max_completion_tokens", "not_sent": ["temperature", "top_p"]}  # fmt: skip
    with serving(Thinker) as address:
        [quiet] = ask_all(address, ["a"], tmp_path / "quiet", **how)
        [loud] = ask_all(address, ["a"], tmp_path / "loud")
    assert quiet["text"] == loud["text"] == SAID
    told, plain = Thinker.said
    assert told["chat_template_kwargs"] == {"enable_thinking": False} and told["reasoning_effort"] == "low"
    assert told["max_completion_tokens"] == plain["max_tokens"] == Sampling().max_tokens
    assert told.keys().isdisjoint(("max_tokens", "temperature", "top_p")) and "seed" in told
    assert plain.keys().isdisjoint(("chat_template_kwargs", "reasoning_effort", "max_completion_tokens"))


def test_settings_of_an_endpoint_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"not_sent=\['max_tokens'\]: .*expected names out of"):
        validate(RemoteConfig, {"base_url": "http://a/v1", "model": "m", "not_sent": ["max_tokens"]})
    with pytest.raises(ConfigError, match="reasoning_effort='lots'"):
        validate(RemoteConfig, {"base_url": "http://a/v1", "model": "m", "reasoning_effort": "lots"})
    with pytest.raises(ConfigError, match="chat_template_kwargs: expected none beside prompt_format"):
        validate(VllmConfig, {"prompt_format": "{question}", "chat_template_kwargs": {"enable_thinking": False}})


def test_variables_reach_the_chat_template(tmp_path: Path) -> None:
    model = saved(tmp_path)
    off = VllmConfig(chat_template_kwargs={"enable_thinking": False}, reasoning_parser="qwen3")
    before, after = prompt_format(model, off)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    filled = processor().apply_chat_template(message, add_generation_prompt=True, enable_thinking=False)
    assert f"{before}What?{after}" == filled and after.endswith("<think>\n\n</think>\n\n")
    parts, config = checked(model, off)
    assert parts == (before, after)
    assert config.reasoning_parser is None, "the thought is over: a parser would take the answer for it"


@pytest.mark.parametrize(("slot", "what"), [("<image>", "an image"), ("{{ part.text }}", "a question")])
def test_a_chat_template_without_a_place_for_what_is_asked(slot: str, what: str, tmp_path: Path) -> None:
    model = saved(tmp_path, QWEN.replace(slot, ""))
    with pytest.raises(ValueError, match=f"chat template has no place for {what}; .*engine.prompt_format"):
        prompt_format(model, VllmConfig(chat_template_kwargs={"enable_thinking": False}))


def test_a_prompt_format_without_a_place_for_the_image(tmp_path: Path) -> None:
    model = saved(tmp_path)
    with pytest.raises(
        ValueError, match=r"prompt_format='no slot \{question\}': no place for the image; .* expects '<im"
    ):
        checked(model, VllmConfig(prompt_format="no slot {question}"))
    parts, _ = checked(model, VllmConfig(prompt_format="<image> {question}"))
    assert parts == ("<image> ", "")


def test_what_cannot_be_hosted_is_said_before_anything_starts(tmp_path: Path) -> None:
    model = saved(tmp_path)
    with pytest.raises(
        ValueError, match=r"lets it think .* ends in .*<think>.*enable_thinking: false.*reasoning_parser"
    ):
        checked(model, VllmConfig())
    with pytest.raises(ValueError, match=r"chat_template_kwargs=\['enable_thinkng'\]: the chat template of .* no such"):
        checked(model, VllmConfig(chat_template_kwargs={"enable_thinkng": False}))
    with pytest.raises(ValueError, match="reasoning_parser='qwen33': expected one of vLLM's: .*, qwen3, "):
        checked(model, VllmConfig(reasoning_parser="qwen33"))
    with pytest.raises(ValueError, match="reasoning_parser='openai_gptoss': vLLM parts its answers only in its server"):
        checked(model, VllmConfig(reasoning_parser="openai_gptoss"))
    with pytest.raises(ValueError, match="reasoning_parser='seed_oss': not for this captioner's tokenizer"):
        checked(model, VllmConfig(reasoning_parser="seed_oss"))
    assert checked(model, VllmConfig(reasoning_parser="qwen3"))[1].reasoning_parser == "qwen3"


def test_a_gemma_3_stays_out_of_float16(tmp_path: Path) -> None:
    about = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"engine.dtype=float16: captioner=.* is a gemma3, .* give bfloat16"):
        require_dtype(str(tmp_path), VllmConfig(dtype="float16"))
    require_dtype(str(tmp_path), VllmConfig(dtype="bfloat16"))
    require_dtype(saved(tmp_path / "llava"), VllmConfig(dtype="float16"))


def test_vllm_knows_the_same_models_as_broken_by_float16() -> None:
    from vllm.config import model

    assert set(hosted.NOT_IN_FLOAT16) == set(model._FLOAT16_NOT_SUPPORTED_MODELS)


def output(tokenizer: Any, text: str, end: bool = True) -> dict[str, Any]:
    """What ray.data.llm hands on: vLLM's text has no special tokens."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + ([tokenizer.eos_token_id] if end else [])
    said = tokenizer.decode(ids, skip_special_tokens=True)
    return {"generated_tokens": ids, "generated_text": said, "num_input_tokens": 5, "__inference_error__": ""}


@pytest.mark.parametrize(
    ("parser", "text", "end", "answer", "ended"),
    [
        ("qwen3", "red brown </think> asymmetric lesion", True, "asymmetric lesion", "stop"),
        ("qwen3", "<think> red brown </think> asymmetric lesion", True, "asymmetric lesion", "stop"),
        ("qwen3", "red brown", False, "", CUT_IN_THOUGHT),
        ("qwen3", "red brown", True, "", "stop"),
        ("qwen3", "red </think> asymmetric lesion", False, "asymmetric lesion", "length"),
        ("deepseek_r1", "red brown </think> asymmetric lesion", True, "asymmetric lesion", "stop"),
        ("gemma4", "<|channel> red brown <channel|> asymmetric lesion", True, "asymmetric lesion", "stop"),
        (None, "<|channel> red brown <channel|> asymmetric lesion", True, "asymmetric lesion", "stop"),
        (None, "<|channel> red brown", False, "", CUT_IN_THOUGHT),
        (None, "red </think> asymmetric lesion", True, "asymmetric lesion", "stop"),
        (None, "asymmetric lesion", True, "asymmetric lesion", "stop"),
    ],
)
def test_vllms_parsers_part_answers(parser: str | None, text: str, end: bool, answer: str, ended: str) -> None:
    tokenizer = processor().tokenizer
    config = VllmConfig(reasoning_parser=parser)
    thoughts = Thoughts(tokenizer, config)
    given = output(tokenizer, text, end)
    for _ in range(2):  # a parser keeps nothing of the answer before
        found = columns(given, {tokenizer.eos_token_id}, config, thoughts)
        assert (found["text"].strip(), found["finish_reason"]) == (answer, ended)
        assert found["tokens_out"] == len(given["generated_tokens"]), "thoughts cost what answers cost"


def test_a_parser_reaches_vllm_with_the_templates_variables() -> None:
    assert "reasoning_parser" not in engine_arguments(VllmConfig())
    found = engine_arguments(VllmConfig(reasoning_parser="deepseek_v3"))
    from vllm import AsyncEngineArgs

    assert AsyncEngineArgs(model="m", **found).reasoning_parser == "deepseek_v3"
    told: list[dict[str, Any]] = []
    engine = SimpleNamespace(generate=lambda prompt, **named: told.append(named))
    let_think(engine, VllmConfig(reasoning_parser="deepseek_v3", chat_template_kwargs={"thinking": True}))
    engine.generate("p")
    assert told == [{"reasoning_parser_kwargs": {"chat_template_kwargs": {"thinking": True}}}]


def test_guided_decoding_begins_behind_the_thought() -> None:
    """vLLM's own rule, which the engine's processes follow: held here to what we count on."""
    from vllm.reasoning import ReasoningParserManager
    from vllm.v1.structured_output import StructuredOutputManager

    tokenizer = processor().tokenizer
    manager = object.__new__(StructuredOutputManager)  # without an engine's config
    manager.reasoner_cls = ReasoningParserManager.get_reasoning_parser("qwen3")
    manager.tokenizer, manager.enable_in_reasoning = tokenizer, False
    manager.vllm_config = SimpleNamespace(model_config=None)  # parsers look at no more

    def request(prompt: str) -> Any:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        asked = SimpleNamespace(reasoning_ended=None, reasoner=None, reasoning_parser_kwargs=None, grammar=object())
        return SimpleNamespace(
            structured_output_request=asked, prompt_token_ids=ids, all_token_ids=list(ids), use_structured_output=True
        )

    thinking, quiet = request("lesion <think>"), request("lesion <think> </think>")
    assert manager.should_fill_bitmask(quiet) and not manager.should_fill_bitmask(thinking)
    red, end = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("red", "</think>"))
    thinking.all_token_ids += red
    assert not manager.should_advance(thinking, red)
    thinking.all_token_ids += end
    assert manager.should_advance(thinking, end) and manager.should_fill_bitmask(thinking)


def test_a_thought_before_json_is_no_part_of_it() -> None:
    said = {"asymmetry": "asymmetric"}
    schema = {**structured.SCHEMA, "required": []}
    asked = SimpleNamespace(sampling=Sampling(), schema=schema)
    config = RemoteConfig(base_url="http://a/v1", model="m", chat_template_kwargs={"enable_thinking": True})
    assert remote.options(asked, config)["response_format"]["json_schema"]["schema"] == schema
    found = columns_of(reply({"content": f"{WHAT_IT_THOUGHT}</think>{json.dumps(said)}"}))
    assert json.loads(found["text"]) == said


def test_the_service_reads_answers_as_the_stage_does() -> None:
    from dermray.serving.captions.engine import Engine

    tokenizer, config = processor().tokenizer, VllmConfig(reasoning_parser="qwen3")
    host = object.__new__(Engine)  # without an engine: what is asked is how its answers are read
    host.config, host.ends, host.thoughts = config, {tokenizer.eos_token_id}, Thoughts(tokenizer, config)
    for text, end in (("red brown </think> asymmetric lesion", True), ("red brown", False)):
        said = output(tokenizer, text, end)
        found = host._columns(said["generated_text"], said["generated_tokens"], 5, "")
        assert found == columns(said, host.ends, config, host.thoughts)
