"""The captioner in a replica of its own: images are shown, asked about and judged by the caption stage's functions."""

import asyncio
from typing import Any, Protocol

from ray import serve

from dermray.captioning import prompts
from dermray.captioning.engine import Manner
from dermray.captioning.finish import Finish
from dermray.captioning.settings import RemoteConfig
from dermray.serving.captions.endpoint import Endpoint
from dermray.serving.captions.engine import Engine
from dermray.serving.captions.opening import Found
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.captions.viewing import View, Viewer
from dermray.serving.captions.work import Captioned, How, Unanswered, Work


class Host(Protocol):
    """Who answers questions about images."""

    async def answer(self, shown: bytes, question: str, manner: Manner) -> dict[str, Any] | Unanswered:
        """Columns of `captioning.engine.ANSWERED`."""

    def check(self) -> None:
        """Raise RuntimeError where it will never answer again."""

    def close(self) -> None:
        """End what it started."""


def host_of(found: Found) -> Host:
    """An engine, which takes seconds to minutes to load; or a client."""
    return Endpoint(found) if isinstance(found.host, RemoteConfig) else Engine(found)


# Its calls are the ingress's, whose requests are logged there.
@serve.deployment(logging_config={"enable_access_log": False})
class Captioning:
    """Captions images of concurrent requests; vLLM batches them as they come."""

    # Serve awaits it: the engine finds the event loop in which it is asked
    async def __init__(self, model: ServedCaptioner, found: Found) -> None:  # type: ignore[misc]
        self.model, self.found = model, found
        self.viewer = Viewer(model.image_side, max(1, int(model.cpus_per_replica)))
        self.host = host_of(found)

    def about(self) -> dict[str, Any]:
        """Whose answers they are. Raises RuntimeError where the engine has died: it is not ready then."""
        self.host.check()
        return {"captioner": self.found.captioner.name, "captioner_revision": self.found.captioner.revision}

    def check_health(self) -> None:
        """Serve starts another replica where this raises."""
        self.host.check()

    async def caption(self, work: Work) -> Captioned | Unanswered:
        """A row for each image. Where the caller gives up, what is under way is aborted."""
        views = await self.viewer.view(work.images, work.max_pixels)
        manner = How(work.sampling, prompts.prompt_set(work.prompt_set).schema)
        asked = [_asked(row, view, work.prompt_set) for row, view in zip(work.rows, views, strict=True)]
        tasks = [asyncio.ensure_future(self._answer(row, manner)) for row in asked]
        try:
            for task in asyncio.as_completed(tasks):
                if isinstance(answer := await task, Unanswered):
                    return answer
        finally:
            for left in tasks:
                left.cancel()
        return self._finished(work, [row | task.result() for row, task in zip(asked, tasks, strict=True)])

    async def _answer(self, row: dict[str, Any], manner: Manner) -> Any:
        return {} if row["unreadable"] else await self.host.answer(row["shown"], row["question"], manner)

    def _finished(self, work: Work, answered: list[dict[str, Any]]) -> Captioned:
        captioner = self.found.captioner
        constants = {
            "captioner": captioner.name, "captioner_revision": captioner.revision,
            "sampling": work.sampling.model_dump_json(),
        }  # fmt: skip
        finish = Finish(work.prompt_set, self.model.metadata, constants)
        return Captioned([finish.row(row) for row in answered], captioner.name, captioner.revision)

    def __del__(self) -> None:
        # Serve calls this where a replica ends
        if hasattr(self, "host"):
            self.host.close()


def _asked(row: dict[str, Any], view: View, prompt_set: str) -> dict[str, Any]:
    """With the columns of `captioning.prepare.ASKED`."""
    return row | {"shown": view.shown, "question": prompts.render(prompt_set, row), "unreadable": view.unreadable}
