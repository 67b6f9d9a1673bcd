"""Calls of replicas that die, without Ray."""

import asyncio
import pickle
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from dermray.serving.calls import Calls
from dermray.serving.errors import ApiError


class Handle:
    """Its method `score` ends in one way after the other."""

    def __init__(self, *ends: Any) -> None:
        self.ends, self.score = list(ends), self
        self.asked: list[Any] = []

    async def remote(self, *arguments: Any) -> Any:
        self.asked.append(arguments)
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


def call(*ends: Any) -> tuple[Any, Handle]:
    handle = Handle(*ends)
    return asyncio.run(Calls(handle).score.remote(b"image", 5)), handle


@pytest.mark.parametrize("death", [ActorDiedError(), ObjectLostError("0" * 56, None, "")])
def test_another_replica_does_it(death: Exception) -> None:
    answer, handle = call(death, 0.5)
    assert answer == 0.5 and handle.asked == [(b"image", 5)] * 2


def test_a_request_that_kills_replicas_is_not_sent_round() -> None:
    handle = Handle(ActorDiedError(), ActorDiedError(), 0.5)
    with pytest.raises(ApiError, match="died; try again") as raised:
        asyncio.run(Calls(handle).score.remote())
    assert (raised.value.status, raised.value.headers["Retry-After"]) == (503, "5") and len(handle.asked) == 2


@pytest.mark.parametrize("refusal", [BackPressureError(3, 2), DeploymentUnavailableError(DeploymentID("m", "app"))])
def test_no_replica_to_be_had(refusal: Exception) -> None:
    with pytest.raises(ApiError) as raised:
        call(refusal)
    assert raised.value.status == 503


def test_a_fault_of_the_model_is_told_once() -> None:
    fault = RayTaskError("score", "traceback", ZeroDivisionError())
    handle = Handle(fault, 0.5)
    with pytest.raises(RayTaskError):
        asyncio.run(Calls(handle).score.remote())
    assert len(handle.asked) == 1


def test_a_client_that_hangs_up_is_not_tried_again() -> None:
    handle = Handle(asyncio.CancelledError(), 0.5)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Calls(handle).score.remote())
    assert len(handle.asked) == 1


def test_handles_travel() -> None:
    assert pickle.loads(pickle.dumps(Calls("handle"))).handle == "handle"
