"""Links that need no key for a while: a browser sends none when it opens a page."""

import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from dermray.serving.jobs.files import BadLink


@dataclass(frozen=True)
class Links:
    """Args:
    secret: of the service, which all of its replicas know. seconds: that a link works.
    """

    secret: bytes
    seconds: int

    def to(self, *parts: str) -> str:
        """Query and all, as seen from the page at `/`."""
        expires = int(time.time()) + self.seconds
        signed = urlencode({"expires": expires, "signature": self._signature(parts, expires)})
        return f"v1/runs/{'/'.join(quote(part, safe='') for part in parts)}?{signed}"

    def check(self, parts: tuple[str, ...], expires: str, signature: str) -> None:
        """Raises `BadLink`, in words for whoever followed the link."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            raise BadLink("expires: no time; take the link as GET /v1/runs gave it")
        if not hmac.compare_digest(self._signature(parts, int(expires)).encode(), signature.encode()):
            raise BadLink("signature: it does not fit this link; take the link as GET /v1/runs gave it")
        if int(expires) <= time.time():
            raise BadLink("this link has expired: GET /v1/runs gives a new one")

    def _signature(self, parts: tuple[str, ...], expires: int) -> str:
        # told apart from links to jobs' images, which the same secret signs
        said = "\n".join(("runs", *parts, str(expires)))
        return hmac.new(self.secret, said.encode(), hashlib.sha256).hexdigest()
