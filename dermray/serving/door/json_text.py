"""JSON as RFC 8259 has it, and nothing that Python takes beyond it: checked before FastAPI reads it its own way."""

import json
import re
from typing import Any, NoReturn

from dermray.serving.errors import ApiError

DEEPEST = 32  # levels of lists and objects
SURROGATE = re.compile(r"[\ud800-\udfff]")


class _Unwelcome(ValueError):
    """Valid for Python's parser, and not for us."""


def check_json(body: bytes | bytearray) -> None:
    """Raise `ApiError` 400 on what is no JSON text of finite numbers, true Unicode and names that stand there once."""
    try:
        parsed = json.loads(
            body.decode("utf-8"), parse_constant=_constant, parse_float=_finite, object_pairs_hook=_each_once
        )
        _walk(parsed, b"\\u" in body)
    except UnicodeDecodeError:
        raise _bad("expected UTF-8") from None
    except RecursionError:
        raise _bad(f"expected at most {DEEPEST} levels") from None
    except _Unwelcome as error:
        raise _bad(str(error)) from None
    except json.JSONDecodeError as error:
        # its message names a kind of fault and a place, and quotes nothing
        raise _bad(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # an integer of more than 4300 digits
        raise _bad("a number has too many digits") from None


def _walk(parsed: Any, escapes: bool) -> None:
    """Depth, and halves of surrogate pairs, which only escapes can bring in."""
    level = [parsed]
    for _ in range(DEEPEST):
        texts = [item for item in level if isinstance(item, str)]
        texts += [name for item in level if isinstance(item, dict) for name in item]
        if escapes and any(SURROGATE.search(text) for text in texts):
            raise _Unwelcome("a \\u escape is half of a surrogate pair")
        level = [
            inner for item in level if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]  # fmt: skip
        if not level:
            return
    raise _Unwelcome(f"expected at most {DEEPEST} levels")


def _constant(_: str) -> NoReturn:
    raise _Unwelcome("NaN and Infinity are no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _Unwelcome("a number is larger than any that is read")
    return number


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unwelcome("a name stands twice in one object")
    return found


def _bad(why: str) -> ApiError:
    return ApiError(400, f"body: {why}", code="invalid_json")
