"""Forms that are none, or are made to hurt."""

import pytest
from fastapi import FastAPI

from dermray.serving.api import api_of
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServedClassifier, ServiceConfig
from tests.serving.door.asgi import KEY, ask
from tests.serving.door.conftest import scoring

pytestmark = pytest.mark.anyio
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
END = b"--b--\r\n"


@pytest.fixture
def app() -> FastAPI:
    model = ServedClassifier(task="classification", name="resnet", model="none")
    return api_of(Service(ServiceConfig(models=(model,)), {"resnet": scoring()}), Keys([KEY]))


def part(name: bytes = b"image", file: bytes = b'; filename="a.png"', data: bytes = b"png") -> bytes:
    return PART % (name, file, data)


@pytest.mark.parametrize(
    ("body", "boundary", "status"),
    [
        (part() + END, "; boundary=b", 200),
        (part(file=b'; filename="../../../etc/passwd"') + END, "; boundary=b", 200),
        (part(file=b'; filename="\x00\xff"') + END, "; boundary=b", 200),
        (part() + END, "", 400),
        (part() + END, "; boundary=", 400),
        (part() + END, "; boundary=\xff", 400),
        (part() + END, "; boundary=" + "b" * 5000, 400),
        (part() + END, "; boundary=other", 400),
        (b"", "; boundary=b", 400),
        (END, "; boundary=b", 400),
        (part()[:-10], "; boundary=b", 400),
        (part(name=b"other") + END, "; boundary=b", 400),
        (part(file=b"") + END, "; boundary=b", 200),
        (part() * 2000 + END, "; boundary=b", 400),
        (part(name=b"a", file=b"", data=b"") * 2000 + END, "; boundary=b", 400),
        (part(name=b"a", file=b"", data=b"a" * (2 << 20)) + END, "; boundary=b", 400),
        (b"--b\r\n" + b"X-A: a\r\n" * 5000 + b"\r\n\r\n" + END, "; boundary=b", 400),
        (b"--b\r\nContent-Disposition: \xff\xfe\r\n\r\na\r\n" + END, "; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data; name=a; filename*=UTF-7''%f\r\n\r\na\r\n" + END, "; boundary=b", 400),
        (b"--b\r\n\x00\x01\x02", "; boundary=b", 400),
    ],
)  # fmt: skip
async def test_forms(app: FastAPI, body: bytes, boundary: str, status: int) -> None:
    headers: list[tuple[str, str | bytes]] = [
        ("authorization", f"Bearer {KEY}"),
        ("content-type", f"multipart/form-data{boundary}".encode("latin-1")),
    ]
    answer = await ask(app, "/v1/classifications", headers=headers, body=[body])
    assert answer.status == status, answer.body
    assert status == 200 or (answer.error and len(answer.body) < 1000)
