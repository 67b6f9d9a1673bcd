"""Headers, checked before a byte of the body is read. Nothing of them is echoed."""

import re
from collections.abc import Iterable

from dermray.serving.door.rules import Rule
from dermray.serving.errors import ApiError

MOST_BYTES = 32 << 10  # of all headers
LONGEST_TARGET = 4096  # characters of path and query
ONCE = (b"host", b"authorization", b"content-length", b"content-type", b"transfer-encoding")  # two could disagree
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Pairs = Iterable[tuple[bytes, bytes]]


def sane_id(given: bytes | None) -> str | None:
    """A client's X-Request-Id, where logs and headers can hold it as it stands."""
    text = (given or b"").decode("latin-1")
    return text if SANE_ID.fullmatch(text) else None


def check_target(path: str, query: bytes) -> None:
    """Raise `ApiError` where a path or query is too long, or holds what no path of ours does."""
    if len(path) + len(query) > LONGEST_TARGET:
        raise ApiError(414, f"path and query: expected at most {LONGEST_TARGET} characters", code="too_long")
    # U+FFFD is what uvicorn makes of percent signs that are no UTF-8
    if re.search(r"[\x00-\x1f\x7f\\\ufffd]|(^|/)\.\.(/|$)", path):
        raise ApiError(400, "path: expected UTF-8 without control characters and `..`", code="invalid_path")


def single(pairs: Pairs) -> dict[bytes, bytes]:
    """The headers by their names; raises `ApiError` where they are too large, or one of `ONCE` stands there twice."""
    found: dict[bytes, bytes] = {}
    size = 0
    for name, value in pairs:
        size += len(name) + len(value)
        known = name.lower()
        if known in found and known in ONCE:
            raise ApiError(400, f"{known.decode()}: expected once", code="invalid_header")
        found[known] = value
    if size > MOST_BYTES:
        raise ApiError(431, f"headers: expected at most {MOST_BYTES} bytes", code="headers_too_large")
    return found


def check_body(headers: dict[bytes, bytes], rule: Rule, most: int) -> bool:
    """Whether a body follows; raises `ApiError` where its type or its length is none that the rule takes."""
    length = headers.get(b"content-length")
    # RFC 9110: digits and nothing else; int() would take " +1_0"
    if length is not None and not re.fullmatch(rb"[0-9]{1,18}", length):
        raise ApiError(400, "Content-Length: expected a number of bytes", code="invalid_header")
    announced = int(length or 0)
    follows = announced > 0 or b"transfer-encoding" in headers
    if not rule.takes:
        if follows:
            raise ApiError(413, f"expected no body on {rule.method} {rule.path}", code="too_large")
        return False
    media = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    if media not in rule.takes:
        raise ApiError(415, f"Content-Type: expected {' or '.join(rule.takes)}", code="invalid_content_type")
    if announced > most:
        raise too_large(most)
    return True


def too_large(most: int) -> ApiError:
    """What a body of more bytes is told."""
    return ApiError(413, f"body: expected at most {most} bytes; send less at a time", code="too_large")
