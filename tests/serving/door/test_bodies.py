"""Bodies that lie, dawdle, never end, or are no JSON."""

import asyncio
import json

import pytest
from fastapi import FastAPI

from dermray.serving.door.bodies import Bodies, ClientGone
from dermray.serving.door.json_text import DEEPEST, check_json
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawn
from dermray.serving.settings import Limits
from tests.serving.door.asgi import AUTHORISED, ask
from tests.serving.door.conftest import Handle

pytestmark = pytest.mark.anyio


async def test_a_body_is_counted_whatever_its_headers_say(app: FastAPI) -> None:
    endless = [b"a" * 400] * 100
    for headers in (AUTHORISED, (*AUTHORISED, ("content-length", "5"))):
        answer = await ask(app, headers=headers, body=endless)
        assert (answer.status, answer.error["code"]) == (413, "too_large")
        assert answer.received == 3, "and not a chunk more"


async def test_half_a_body_is_not_waited_for(app: FastAPI) -> None:
    began = asyncio.get_running_loop().time()
    answer = await ask(app, body=[b'{"prompt"', None])
    assert (answer.status, answer.error["code"]) == (408, "slow_body")
    assert asyncio.get_running_loop().time() - began < 2
    assert answer.headers["connection"] == "close"


async def test_a_key_sends_a_few_bodies_at_once_and_others_go_on(app: FastAPI) -> None:
    half = [asyncio.create_task(ask(app, body=[b"{", None])) for _ in range(40)]
    await asyncio.sleep(0.05)
    refused = [task.result() for task in half if task.done()]
    assert len(refused) == 37 and {answer.status for answer in refused} == {429}
    other = (("authorization", "Bearer " + "f" * 32), ("content-type", "application/json"))
    assert (await ask(app, headers=other, body=[b'{"prompt": "red"}'])).status == 200
    assert {answer.status for answer in await asyncio.gather(*half)} == {429, 408}
    assert (await ask(app, body=[b'{"prompt": "red"}'])).status == 200, "and it may send again"


async def test_bytes_are_held_until_the_work_is_done_and_bounded(app: FastAPI, generator: Handle) -> None:
    go = asyncio.Event()

    async def draw(*_: object) -> list[Drawn]:
        await go.wait()
        return [Drawn(1, b"png")]

    generator.answers["draw"] = draw
    body = json.dumps({"prompt": "red" + " " * 700}).encode()
    asked = [asyncio.create_task(ask(app, body=[body])) for _ in range(3)]
    await asyncio.sleep(0.05)
    statuses = [task.result().status for task in asked if task.done()]
    assert statuses == [429], "half of 3000 bytes is two bodies of this key"
    go.set()
    assert sorted(answer.status for answer in await asyncio.gather(*asked)) == [200, 200, 429]
    assert (await ask(app, body=[body])).status == 200


async def test_who_hangs_up_in_mid_body_holds_nothing() -> None:
    bodies = Bodies(Limits())
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    with pytest.raises(ClientGone):
        async with bodies.read("a", receive):
            raise AssertionError
    assert not bodies.held and not bodies.arriving


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"secret", "Expecting value"),
        (b'{"n": NaN}', "NaN and Infinity"),
        (b'{"n": -Infinity}', "NaN and Infinity"),
        (b'{"n": 1e400}', "larger than any"),
        (b'{"n": ' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"prompt": "\\ud800secret"}', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b'{"prompt": "a", "prompt": "secret"}', "stands twice"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[" * 100_000, "levels"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "levels"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "levels"),
    ],
)
def test_what_is_no_json_is_told_without_an_echo(body: bytes, said: str) -> None:
    with pytest.raises(ApiError, match=said) as raised:
        check_json(body)
    assert raised.value.status == 400 and "secret" not in raised.value.message


def test_what_is_json_passes() -> None:
    deepest = b"[" * (DEEPEST - 1) + b"1e300" + b"]" * (DEEPEST - 1)
    for body in (deepest, '{"prompt": "\\ud83d\\ude00 é", "n": -0.0, "steps": null}'.encode(), b" 1 ", b'"\\\\ud800"'):
        check_json(body)


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": 7}, {"prompt": ""}, {}, {"prompt": "a", "secret" * 1: 1}, {"prompt": "a", "n": 0}, [], "text", 1,
        {"prompt": "a", "seed": 2**53}, {"prompt": "a", "seed": -1}, {"prompt": "a", "steps": "many secret"},
        {"prompt": "a", "n": 1e300}, {"prompt": "a", "model": "secret" * 100}, {"prompt": "a" * 900, "n": 10**9},
    ],
)  # fmt: skip
async def test_values_that_do_not_fit_are_400_by_their_place(app: FastAPI, body: object) -> None:
    answer = await ask(app, body=[json.dumps(body).encode()])
    assert answer.status in (400, 404) and len(answer.body) < 500
    assert "many secret" not in answer.error["message"]
