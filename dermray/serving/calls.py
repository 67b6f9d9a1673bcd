"""Calls of a model's replicas. One that dies at work is no matter of the client's: another does the work."""

from collections.abc import AsyncIterator
from typing import Any

from ray.exceptions import NodeDiedError, ObjectLostError, OwnerDiedError, RayActorError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from dermray.serving.errors import ApiError

DIED = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError, OwnerDiedError, ReplicaUnavailableError)
REFUSED = (BackPressureError, DeploymentUnavailableError)
TRIES = 2  # a request that kills what works on it, by its size say, has ended two replicas and not all of them


class Calls:
    """A deployment's handle. Its calls draw and score, and leave nothing behind: doing one again is safe."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __getattr__(self, method: str) -> "Call":
        if method.startswith("__"):  # pickle and copy ask for these before there is a handle
            raise AttributeError(method)
        return Call(getattr(self.handle, method))

    async def stream(self, method: str, *arguments: Any) -> AsyncIterator[Any]:
        """What one of the replicas yields; ended with whoever listens. It is not begun again by itself.

        Raises:
            ApiError: 503, where the replica died at it or there is none. Else what the replica raised.
        """
        try:
            answers = getattr(self.handle.options(stream=True), method).remote(*arguments)
        except REFUSED as error:
            raise _unavailable("this model is not to be had now") from error
        try:
            async for answer in answers:
                yield answer
        except DIED as error:
            raise _unavailable("the replica that worked on this died") from error
        except REFUSED as error:
            raise _unavailable("this model is not to be had now") from error
        finally:
            answers.cancel()


class Call:
    """One method of the replicas."""

    def __init__(self, method: Any) -> None:
        self.method = method

    async def remote(self, *arguments: Any, **named: Any) -> Any:
        """What the replica gives; cancelled with whoever waits for it.

        Raises:
            ApiError: 503, where replicas died at it or there are none. Else what the replica raised.
        """
        for _ in range(TRIES):
            try:
                return await self.method.remote(*arguments, **named)
            except DIED:
                continue
            except REFUSED as error:
                raise _unavailable("this model is not to be had now") from error
        raise _unavailable("the replicas that worked on this request died")


def _unavailable(what: str) -> ApiError:
    return ApiError(503, f"{what}; try again", code="unavailable", headers={"Retry-After": "5"})
