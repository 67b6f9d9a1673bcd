"""Which requests there are: what each needs and what it takes. Whatever has no rule here is answered 404."""

import re
from dataclasses import dataclass
from typing import Literal

from starlette.routing import compile_path

from dermray.serving.errors import ApiError
from dermray.serving.keys import Scope

JSON, FORM = "application/json", "multipart/form-data"
SMALL = 16 << 10  # bytes, from who has no API key


@dataclass(frozen=True)
class Rule:
    """A method of a path."""

    method: str
    path: str  # as FastAPI writes it
    needs: Literal["nothing", "a session", "a key"] | Scope  # a session: of a reader, whom the endpoint knows
    takes: tuple[str, ...] = ()  # media types of its body; none: it has no body
    most: int | None = None  # bytes of its body, where that is less than the service's limit

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of the paths that it stands for."""
        return compile_path(self.path)[0]


RULES = (
    Rule("GET", "/", "nothing"),  # the page, which asks for the key that its questions need
    Rule("GET", "/web/{file}", "nothing"),
    Rule("GET", "/healthz", "nothing"),
    Rule("GET", "/livez", "nothing"),
    Rule("GET", "/readyz", "nothing"),
    Rule("HEAD", "/healthz", "nothing"),  # as some load balancers ask
    Rule("HEAD", "/livez", "nothing"),
    Rule("HEAD", "/readyz", "nothing"),
    Rule("HEAD", "/", "nothing"),
    Rule("GET", "/openapi.json", "nothing"),
    Rule("GET", "/docs", "nothing"),
    Rule("GET", "/docs/assets/{file}", "nothing"),
    Rule("GET", "/v1/models", "a key"),
    Rule("GET", "/v1/models/{model}", "a key"),
    Rule("GET", "/v1/images/kept/{name}", "nothing"),  # the name is the secret
    Rule("POST", "/v1/images/generations", "generate", (JSON,)),
    Rule("POST", "/v1/jobs", "generate", (JSON,)),
    Rule("GET", "/v1/jobs", "a key"),
    Rule("GET", "/v1/jobs/{job}", "a key"),
    Rule("DELETE", "/v1/jobs/{job}", "a key"),
    Rule("GET", "/v1/jobs/{job}/events", "a key"),
    Rule("GET", "/v1/jobs/{job}/images/{place}", "nothing"),  # the link is signed
    Rule("GET", "/v1/jobs/{job}/images/{place}/png", "a key"),
    Rule("GET", "/v1/runs", "browse"),
    Rule("GET", "/v1/runs/{run}/{part}/{file}", "nothing"),  # the link is signed
    Rule("POST", "/v1/classifications", "classify", (FORM, JSON)),
    Rule("POST", "/v1/captions", "caption", (FORM, JSON)),
    Rule("GET", "/reader-study/{study}", "nothing"),
    Rule("GET", "/v1/reader-studies/{study}", "nothing"),
    Rule("POST", "/v1/reader-studies/{study}/sessions", "nothing", (JSON,), SMALL),  # the code is in it
    Rule("DELETE", "/v1/reader-studies/{study}/sessions", "a session"),
    Rule("GET", "/v1/reader-studies/{study}/reading", "a session"),
    Rule("GET", "/v1/reader-studies/{study}/images/{place}", "a session"),
    Rule("PUT", "/v1/reader-studies/{study}/reading/{place}", "a session", (JSON,), SMALL),
    Rule("POST", "/v1/reader-studies/{study}/finish", "a session", (JSON,), SMALL),
    Rule("GET", "/v1/reader-studies/{study}/readers", "study"),
    Rule("GET", "/v1/reader-studies/{study}/answers/{reader}.csv", "study"),
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
