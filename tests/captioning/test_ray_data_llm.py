"""What `vllm_engine` uses of ray.data.llm and vLLM beyond what these promise.

An update that renames one of these must fail here, with its name, and not in a run. Then read the new source, mend
`vllm_engine`, and correct this list.
"""

import dataclasses
import inspect
from typing import Any

import pytest

from dermray.captioning import vllm_engine

pytestmark = pytest.mark.xdist_group("vllm")  # half a minute to import, so in one process

# The engine stage's methods that are overridden, with the arguments that Ray gives them.
OVERRIDDEN = {"udf": ["self", "batch"], "_generate_with_error_handling": ["self", "row", "batch_uuid"]}


@pytest.fixture(scope="module")
def stage() -> Any:
    from ray.llm._internal.batch.stages import vllm_engine_stage

    return vllm_engine_stage


def test_the_methods_that_are_overridden_are_there_and_are_called(stage: Any) -> None:
    base = stage.vLLMEngineStage.model_fields["fn"].default
    nothing: Any = [None] * (len(inspect.signature(vllm_engine._noting).parameters) - 1)  # no row is asked here
    ours = vllm_engine._noting(base, *nothing)
    for name, arguments in OVERRIDDEN.items():
        method = getattr(base, name, None)
        assert method is not None, f"ray.data.llm's engine stage has no {name} any more: vllm_engine overrides it"
        assert list(inspect.signature(method).parameters) == arguments, f"{name} takes other arguments now"
    own = {name for name in vars(ours) if inspect.isfunction(vars(ours)[name]) and name != "__init__"}
    assert own == set(OVERRIDDEN), "vllm_engine overrides other methods than this list says"
    assert inspect.isasyncgenfunction(base.udf) and inspect.iscoroutinefunction(base._generate_with_error_handling)
    assert "self._generate_with_error_handling(row" in inspect.getsource(base.udf), "udf does not call it any more"
    assert "self.udf(" in inspect.getsource(base.__call__), "the stage does not call udf any more"


def test_rows_go_in_and_out_under_the_names_that_are_used(stage: Any) -> None:
    request = vllm_engine.Request.__new__(vllm_engine.Request)
    request.before, request.after, request.sampling = "", "", {}
    sent = set(request({"unreadable": None, "question": "?"})) | {
        "multimodal_data",
        "model",
    }  # the engine adds the last
    known = stage.vLLMEngineStage.model_construct()
    read = {*known.get_required_input_keys(), *known.get_optional_input_keys()}
    assert sent - {"__inference_error__"} <= read, "the engine stage reads its rows under other names"
    handed_on = {"generated_tokens", "generated_text", "num_input_tokens"}
    assert handed_on <= set(stage.vLLMOutputData.model_fields), "the engine stage names its columns otherwise"
    base = stage.vLLMEngineStage.model_fields["fn"].default
    assert isinstance(base.IDX_IN_BATCH_COLUMN, str)
    assert '"__inference_error__": ""' in inspect.getsource(base._generate_with_error_handling)
    assert 'row.get("__inference_error__", "") != ""' in inspect.getsource(base.__call__), "rows with errors are passed"


def test_a_processors_stage_can_be_exchanged() -> None:
    from ray.llm._internal.batch.processor.base import Processor

    assert list(inspect.signature(Processor.get_stage_by_name).parameters) == ["self", "name"]
    assert "self.stages" in inspect.getsource(Processor.__init__), "the stages lie elsewhere"


def test_the_processors_settings_are_those_that_are_given() -> None:
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    given = inspect.getsource(vllm_engine._answer)
    names = set(vLLMEngineProcessorConfig.model_fields)
    for name in ("max_tasks_in_flight_per_actor", "placement_group_config", "should_continue_on_error",
                 "prepare_multimodal_stage", "chat_template_stage", "tokenize_stage", "detokenize_stage",
                 "max_concurrent_batches", "log_engine_metrics"):  # fmt: skip
        assert f"{name}=" in given and name in names, f"vLLMEngineProcessorConfig has no {name} any more"
    assert {"config", "preprocess", "postprocess"} <= set(inspect.signature(build_processor).parameters)


def test_the_end_tokens_are_found_where_they_lay() -> None:
    from vllm.config import ModelConfig

    assert callable(getattr(ModelConfig, "try_get_generation_config", None)), "vLLM's ModelConfig has no such method"
    assert "hf_text_config" in {field.name for field in dataclasses.fields(ModelConfig)}


def test_an_engine_is_told_of_thoughts_where_it_is_asked() -> None:
    """`vllm_thinking.let_think` puts itself in the place of the engine's `generate`."""
    from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineWrapper
    from vllm.v1.engine.async_llm import AsyncLLM

    assert "self.engine.generate(" in inspect.getsource(vLLMEngineWrapper), "it is asked in another way"
    assert "reasoning_parser_kwargs" in inspect.signature(AsyncLLM.generate).parameters
    assert not inspect.iscoroutinefunction(AsyncLLM.get_tokenizer)
