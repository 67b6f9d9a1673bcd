"""vLLM without Ray, for a process of its own: `python -m tests.vlm.tuning.offline questions.json answers.json`.

questions.json: phantoms {seed, count, size}, and engines, each {model, adapters}. answers.json: of each engine its
answers without an adapter, then those with each adapter.
"""

import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from dermray.captioning.adapters import read, room
from dermray.captioning.hosted import prompt_format
from dermray.captioning.prompts.abc import PROMPT_SET
from dermray.captioning.settings import VllmConfig
from dermray.captioning.vllm_engine import engine_arguments
from dermray.datasets.renderer import draw_phantoms


def main(questions: Path, answers: Path) -> None:
    """Ask every engine, one after the other."""
    asked = json.loads(questions.read_text())
    images = [Image.fromarray(drawn.image) for _, drawn in draw_phantoms(**asked["phantoms"])]
    answers.write_text(json.dumps([_answers(images, **engine) for engine in asked["engines"]]))


def _answers(images: list[Image.Image], model: str, adapters: list[str]) -> list[list[str]]:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    config = VllmConfig(enforce_eager=True, kv_cache_gib=0.125)
    if adapters:
        rank = max(room(read(place, "adapter").rank) for place in adapters)
        config = config.model_copy(update={"lora": adapters[0], "lora_rank": rank})
    before, after = prompt_format(model, config)
    engine = LLM(model=model, **engine_arguments(config))
    prompts: Any = [
        {"prompt": f"{before}{PROMPT_SET.template}{after}", "multi_modal_data": {"image": image}} for image in images
    ]
    greedy = SamplingParams(temperature=0, max_tokens=48)
    requests = [None, *(LoRARequest(str(n), n, place) for n, place in enumerate(adapters, start=1))]
    said = [engine.generate(prompts, greedy, lora_request=request, use_tqdm=False) for request in requests]
    return [[answer.outputs[0].text for answer in one] for one in said]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
