"""Parts of a multipart body, in memory.

Starlette's own form parser writes what exceeds 1 MiB into temporary files, through a thread for each chunk. Here the
body's length is bounded, and a replica wants the bytes themselves.
"""

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from dermray.serving.door.rules import FORM
from dermray.serving.errors import ApiError

OTHERS = 8  # parts beside images: fields that are not known are named and not counted
LONGEST_HEADER = 8 << 10  # bytes of all headers of a part


@dataclass
class Part:
    """A field or a file: which of them does not matter to those who read them."""

    name: str = ""
    data: bytes = b""


@dataclass
class _Parts:
    """What python-multipart calls back."""

    most: int
    done: list[Part] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    value: bytes = b""
    ended: bool = False

    def callbacks(self) -> dict[str, Any]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.done) >= self.most:
            raise ApiError(400, f"more than {self.most} parts: send more requests", param="images", code="too_many")
        self.chunks, self.headers = [], {}

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.chunks.append(data[start:end])

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name = self._longer(self.name, data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value = self._longer(self.value, data[start:end])

    def _longer(self, so_far: bytes, more: bytes) -> bytes:
        if len(so_far) + len(more) > LONGEST_HEADER:
            raise ApiError(400, f"a part's header is longer than {LONGEST_HEADER} bytes", code="bad_multipart")
        return so_far + more

    def header_end(self) -> None:
        self.headers[self.name.lower()], self.name, self.value = self.value, b"", b""

    def part_end(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise ApiError(400, "a part without a name in its Content-Disposition", code="bad_multipart")
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.done.append(Part(options[b"name"].decode("utf-8", "replace"), data))

    def end(self) -> None:
        self.ended = True


async def parts_of(request: Request, images: int) -> list[Part]:
    """All parts in their order.

    Raises:
        ApiError: 400: no multipart body, cut short, or of more parts than so many images and some fields.
    """
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary")
    if not boundary:
        raise ApiError(400, f"content-type {FORM} without a boundary", param="content-type", code="bad_multipart")
    found = _Parts(images + OTHERS)
    try:
        parser = MultipartParser(boundary, found.callbacks())  # type: ignore[arg-type]  # a TypedDict of the same names
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise ApiError(400, f"the body is no {FORM}, or is damaged", code="bad_multipart") from None
    if not found.ended:
        raise ApiError(400, f"the {FORM} body ends before its last boundary", code="bad_multipart")
    return found.done
