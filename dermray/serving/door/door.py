"""The ASGI layer before FastAPI: nothing of a request is read, parsed or worked on until it passed here."""

import asyncio
import logging
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from dermray.serving.door.admission import Admission
from dermray.serving.door.bodies import Bodies, ClientGone, replay, without_body
from dermray.serving.door.headers import check_body, check_target, sane_id, single
from dermray.serving.door.json_text import check_json
from dermray.serving.door.metrics import Metrics
from dermray.serving.door.quotas import Quotas
from dermray.serving.door.rules import JSON, Rule, rule_of
from dermray.serving.door.visit import Visit, new_id
from dermray.serving.errors import REQUEST_ID, ApiError, answer, fault
from dermray.serving.keys import ANYBODY, Key, Keys
from dermray.serving.settings import Limits

LARGE = 256 << 10  # bytes of JSON from which another thread parses them, about a millisecond's
CHALLENGE = {"WWW-Authenticate": "Bearer"}

logger = logging.getLogger("ray.serve")


class Door:
    """Path, headers, key, scope, rate, length and type; then the body; then the application.

    Args:
        served: on Serve, whose proxy sets the answer's X-Request-Id where the request has a sane one.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, limits: Limits, admission: Admission, quotas: Quotas, served: bool = False
    ) -> None:
        self.app, self.keys, self.limits, self.admission, self.quotas = app, keys, limits, admission, quotas
        self.bodies, self.metrics, self.served = Bodies(limits), Metrics(), served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
        else:
            await self._visit(scope, receive, send)

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name.lower() == b"x-request-id"), None)
        known = sane_id(given)
        visit = Visit(known or new_id(), scope["method"], echo=not (self.served and known))
        token = REQUEST_ID.set(visit.id)
        noting = visit.answered(send)
        try:
            await self._enter(visit, scope, receive, noting)
        except ApiError as error:
            visit.rejected = error.code
            await answer(error)(scope, receive, noting)
        except ClientGone:
            pass
        except Exception:
            logger.exception("request %s: fault", visit.id)
            visit.rejected = "fault"
            if visit.status is None:
                await answer(fault())(scope, receive, noting)
            elif not visit.whole:  # half an answer is out: the proxy has to break it off
                raise
        finally:
            visit.end(self.metrics)
            self.metrics.state(self.admission.waiting, self.admission.at_work, self.bodies.held.total())
            REQUEST_ID.reset(token)

    async def _enter(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        visit.body_unread = _body_follows(scope)
        check_target(scope["path"], scope.get("query_string", b""))
        headers = single(scope["headers"])
        rule = rule_of(scope["method"], scope["path"])
        visit.route = rule.path
        key = self._key(rule, headers, scope)
        visit.key = key.name
        state = scope.setdefault("state", {})
        state["key"] = key
        most = min(rule.most or self.limits.body_bytes, self.limits.body_bytes)
        if not check_body(headers, rule, most):
            visit.body_unread = False
            await self.app(scope, without_body(receive), send)
            return
        async with self.bodies.read(key.name, receive, most) as body:
            visit.body_unread = False
            if headers[b"content-type"].split(b";")[0].strip().lower() == JSON.encode():
                await (asyncio.to_thread(check_json, body) if len(body) > LARGE else _at_once(body))
            await self.app(scope, replay(body, receive), send)

    def _key(self, rule: Rule, headers: dict[bytes, bytes], scope: Scope) -> Key:
        """Who asks; raises `ApiError` 401 or 403."""
        if rule.needs == "nothing" or rule.needs == "a session":
            return ANYBODY
        if self.keys.off:
            _require_loopback(headers, scope)
            return ANYBODY
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise ApiError(401, "API key missing: send Authorization: Bearer <key>", None, "missing_key", CHALLENGE)
        key = self.keys.find(given.strip())
        if key is None:
            raise ApiError(401, "API key not accepted", None, "invalid_api_key", CHALLENGE)
        if key.expired:
            raise ApiError(401, "API key expired: ask the service's operator", None, "expired_api_key", CHALLENGE)
        if rule.needs != "a key" and not key.may(rule.needs):
            message = f"this key may not {rule.needs}: its scopes are {', '.join(key.scopes)}"
            raise ApiError(403, message, code="missing_scope")
        self.quotas.request(key)
        return key


def _body_follows(scope: Scope) -> bool:
    # what a request says before anything is checked: its answer closes the socket in any case of doubt
    return any(
        name.lower() == b"transfer-encoding" or (name.lower() == b"content-length" and value.strip() != b"0")
        for name, value in scope["headers"]
    )


async def _at_once(body: bytearray) -> None:
    check_json(body)


def _require_loopback(headers: dict[bytes, bytes], scope: Scope) -> None:
    """Keys are off: the client must be of this machine, and must mean it: a web page can make a browser ask for it."""
    client = (scope.get("client") or ("", 0))[0]
    try:
        host = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname or ""
        near = ip_address(client).is_loopback and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        near = False
    own = b"http://" + headers.get(b"host", b"")  # of /docs, whose page is ours; the host is known to be this machine
    if not near or headers.get(b"origin", own) != own:
        raise ApiError(403, "keys are off, which serves only programs of this machine: set keys", code="not_loopback")
