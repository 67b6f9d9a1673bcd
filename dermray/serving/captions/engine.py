"""vLLM's asynchronous engine in a replica.

Ray Serve has LLM deployments of its own (`ray.serve.llm`, 2.60). They put OpenAI's protocol around the same engine:
each image would be base64 in a chat message, the chat template would be filled by vLLM's front end and not by
`hosted.prompt_format`, and an answer's end would be worded by the front end. Here the engine is asked directly,
with the prompts, the sampling and the reading of ends that the caption stage has, so that equal images get equal rows;
a request that is given up is aborted in the engine; and the service keeps one door, one config and one form of errors.
What is given up is theirs: prefix-aware routing (each image is asked about once), tensor parallelism over several nodes
and disaggregated prefill. A model that needs those is served by `ray.serve.llm` or `vllm serve`, given as `remote`.
"""

import asyncio
import uuid
from typing import Any

from dermray import weights
from dermray.captioning.engine import Manner
from dermray.captioning.settings import VllmConfig
from dermray.captioning.vllm_engine import Request, columns, end_tokens, engine_arguments, located
from dermray.captioning.vllm_thinking import Thoughts, let_think
from dermray.datasets.decode import decode
from dermray.serving.captions.opening import Found
from dermray.serving.captions.work import Unanswered

DEAD = "the captioner's engine has died and is being started again"


class Engine:
    """Of one replica: its process lives beside the replica's. To be made inside an event loop."""

    def __init__(self, found: Found) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        assert isinstance(found.host, VllmConfig)
        self.config, self.parts = found.host, found.parts
        path, adapter = located(found.captioner.model, self.config)
        commit = self.config.revision if weights.on_hub(found.captioner.model) else None  # of a directory: no commit
        arguments = engine_arguments(self.config.model_copy(update={"revision": commit}))
        self.engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=path, runner="generate", **arguments))
        self.ends, self.lora = end_tokens(self.engine), _adapter(adapter)
        self.thoughts = Thoughts(self.engine.get_tokenizer(), self.config)
        let_think(self.engine, self.config)

    def check(self) -> None:
        """Raise RuntimeError where it has died."""
        if self.engine.errored:
            raise RuntimeError(DEAD)

    async def answer(self, shown: bytes, question: str, manner: Manner) -> dict[str, Any] | Unanswered:
        """Columns of `captioning.engine.ANSWERED` about an encoded image. Cancelled, it is aborted in the engine."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        request = Request(manner, self.parts)({"question": question, "unreadable": None})
        image = await asyncio.to_thread(decode, shown)
        prompt = {"prompt": request["prompt"], "multi_modal_data": {"image": image}}
        drawn = self.engine.generate(
            prompt, _sampling(request["sampling_params"]), uuid.uuid4().hex, lora_request=self.lora
        )
        try:
            [output] = [part async for part in drawn]
        except EngineDeadError:
            return Unanswered(503, DEAD)
        except Exception as error:  # of this question, too long say: the caption stage has a failed row of it
            if self.engine.errored:
                return Unanswered(503, DEAD)
            cause = error.__cause__ if isinstance(error, EngineGenerateError) and error.__cause__ else error
            return self._columns("", [], 0, f"{type(cause).__name__}: {cause}")
        said = output.outputs[0]
        return self._columns(said.text, list(said.token_ids), len(output.prompt_token_ids), "")

    def _columns(self, text: str, tokens: list[int], tokens_in: int, error: str) -> dict[str, Any]:
        output = {"generated_text": text, "generated_tokens": tokens, "num_input_tokens": tokens_in}
        return columns(output | {"__inference_error__": error}, self.ends, self.config, self.thoughts)

    def close(self) -> None:
        """End its process."""
        self.engine.shutdown()


def _sampling(given: dict[str, Any]) -> Any:
    """vLLM's parameters, as ray.data.llm makes them of the caption stage's."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    rest = {name: value for name, value in given.items() if name != "structured_outputs"}
    guided = given.get("structured_outputs")
    return SamplingParams(
        **rest, structured_outputs=StructuredOutputsParams(**guided) if guided else None,
        output_kind=RequestOutputKind.FINAL_ONLY,  # nobody reads it token by token
    )  # fmt: skip


def _adapter(path: str | None) -> Any:
    if path is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora_name=path, lora_int_id=1, lora_path=path)
