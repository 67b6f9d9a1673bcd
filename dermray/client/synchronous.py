"""A client for programs that wait."""

import time
from collections.abc import Iterator
from functools import reduce
from typing import Any, Self, Unpack, cast

import httpx2

from dermray.client import questions
from dermray.client.answers import Captions, Classification, Generation, Job, JobImage, Model
from dermray.client.patience import Patience
from dermray.client.questions import Captioning, Drawing, Question


class Client:
    """The service at `base_url`. May be shared by threads.

    Args:
        key: an API key; DERMRAY_API_KEY where none is given. patience: how often and how long is tried.

    Every method raises ServiceError where the service refuses, and Unreachable where it does not answer.
    """

    def __init__(self, base_url: str, key: str | None = None, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._http = httpx2.Client(**self.patience.options(base_url))
        self._key = questions.key_of(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def models(self) -> list[Model]:
        """Those that are served."""
        return [Model.model_validate(told) for told in self._ask(questions.models())["data"]]

    def generate(self, prompt: str | None = None, **drawing: Unpack[Drawing]) -> Generation:
        """Draw images from a prompt, from `attributes`, or both; see `Drawing`."""
        return Generation.model_validate(self._ask(questions.generation(prompt, drawing)))

    def classify(self, *images: Any, model: str | None = None, saliency: bool = False) -> Classification:
        """Score images: paths, bytes or Pillow images, any number. More than 64 are sent in several requests.

        An image that cannot be read has an `error` in its place; where none of a request can, ServiceError is raised.
        """
        asked = questions.classifications(images, model, saliency)
        return reduce(Classification.joined, (Classification.model_validate(self._ask(each)) for each in asked))

    def caption(self, *images: Any, **captioning: Unpack[Captioning]) -> Captions:
        """Describe images in words: paths, bytes or Pillow images, any number; see `Captioning`.

        An image that cannot be read, or an answer that may not become a caption, is rejected with a reason in its
        place; where none of a request's images can be read, ServiceError is raised.
        """
        asked = questions.captions(images, captioning)
        return reduce(Captions.joined, (Captions.model_validate(self._ask(each)) for each in asked))

    def submit(self, prompt: str | None = None, **drawing: Unpack[Drawing]) -> Job:
        """Ask for images that take longer than a request; `follow` says how far they are."""
        return Job.model_validate(self._ask(questions.job(prompt, drawing)))

    def job(self, identity: str) -> Job:
        """How far a job is, with fresh links to the images that are there."""
        return Job.model_validate(self._ask(questions.of_job("GET", identity)))

    def follow(self, identity: str, seconds: float = 1.0) -> Iterator[Job]:
        """The job whenever it got on, looked at every so many seconds; the last one is over."""
        told = None
        while told is None or not told.over:
            job = self.job(identity)
            if told is None or (job.steps_done, job.status) != (told.steps_done, told.status):
                told = job
                yield job
            if not job.over:
                time.sleep(seconds)

    def cancel(self, identity: str) -> Job:
        """End a job: images that are there stay."""
        return Job.model_validate(self._ask(questions.of_job("DELETE", identity)))

    def fetch(self, image: JobImage) -> bytes:
        """The PNG of a job's image."""
        return bytes(self._got(Question("GET", image.url)).content)

    def _ask(self, question: Question) -> dict[str, Any]:
        return dict(self._got(question).json())

    def _got(self, question: Question) -> httpx2.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                outcome: Any = self._http.request(question.method, question.path, **question.with_key(self._key))
            except httpx2.TransportError as error:
                outcome = error
            pause = self.patience.pause(attempt, outcome)
            if pause is None:
                return cast(httpx2.Response, outcome)
            time.sleep(pause)
