"""Which requests there are: what each needs and what it takes. Whatever has no rule here is answered 404."""

import re
from dataclasses import dataclass
from typing import Literal

from starlette.routing import compile_path

from dermray.serving.errors import ApiError
from dermray.serving.keys import Scope

JSON, FORM = "application/json", "multipart/form-data"


@dataclass(frozen=True)
class Rule:
    """A method of a path."""

    method: str
    path: str  # as FastAPI writes it
    needs: Literal["nothing", "a key"] | Scope
    takes: tuple[str, ...] = ()  # media types of its body; none: it has no body

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of the paths that it stands for."""
        return compile_path(self.path)[0]


RULES = (
    Rule("GET", "/healthz", "nothing"),
    Rule("GET", "/livez", "nothing"),
    Rule("GET", "/readyz", "nothing"),
    Rule("GET", "/openapi.json", "nothing"),
    Rule("GET", "/docs", "nothing"),
    Rule("GET", "/docs/assets/{file}", "nothing"),
    Rule("GET", "/v1/models", "a key"),
    Rule("GET", "/v1/models/{model}", "a key"),
    Rule("GET", "/v1/images/kept/{name}", "nothing"),  # the name is the secret
    Rule("POST", "/v1/images/generations", "generate", (JSON,)),
    Rule("POST", "/v1/classifications", "classify", (FORM, JSON)),
)
_PATTERNS = [(rule.pattern, rule) for rule in RULES]


def rule_of(method: str, path: str) -> Rule:
    """The rule of a request.

    Raises:
        ApiError: 404, no such path; 405, with the methods that there are.
    """
    there = [rule for pattern, rule in _PATTERNS if pattern.match(path)]
    for rule in there:
        if rule.method == method:
            return rule
    if not there:
        raise ApiError(404, "no such path: GET /openapi.json lists those that there are", code="unknown_path")
    allowed = ", ".join(sorted({rule.method for rule in there}))
    raise ApiError(405, f"expected {allowed} on this path", code="unknown_method", headers={"Allow": allowed})
