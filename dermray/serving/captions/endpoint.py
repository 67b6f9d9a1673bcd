"""A client of a remote endpoint in a replica: the caption stage's, with its retries, backoff and requests a minute."""

import logging
from typing import Any

from dermray.captioning.engine import Manner
from dermray.captioning.remote import Chats, api_key, messages, options
from dermray.captioning.settings import RemoteConfig
from dermray.serving.captions.opening import Found
from dermray.serving.captions.work import Unanswered

# Of HTTP. The endpoint refuses us, whatever is asked: its key, its address, the model, no credit.
REFUSES = {401, 402, 403, 404, 405}
# It works again by itself, or the client may ask later: no connection, too early, too many, its own faults.
PASSES = {0, 408, 409, 425, 429}

logger = logging.getLogger("ray.serve")


class Endpoint:
    """Of one replica."""

    def __init__(self, found: Found) -> None:
        assert isinstance(found.host, RemoteConfig)
        self.config = found.host
        self.key = api_key(self.config)
        self.chats = Chats(self.config, self.key)

    def check(self) -> None:
        """A replica is well though its endpoint is not: another one would ask the same."""

    async def answer(self, shown: bytes, question: str, manner: Manner) -> dict[str, Any] | Unanswered:
        """Columns of `captioning.engine.ANSWERED` about an encoded image. Cancelled, its connection is closed."""
        async with self.chats.room:
            found, _ = await self.chats.send(messages(shown, question), options(manner, self.config))
        status = found.pop("error_status", None)
        if status is None:
            return found
        found["engine_error"] = found["engine_error"].replace(self.key, "<key>")  # some servers repeat what they refuse
        logger.warning("captioner %s at %s: %s", self.config.model, self.config.base_url, found["engine_error"])
        where = f"the endpoint that hosts this captioner ({self.config.model})"
        if status in REFUSES:
            return Unanswered(502, f"{where} refuses this service: HTTP {status}; its operator must look after it")
        if status in PASSES or status >= 500:
            said = f"HTTP {status}" if status else "no whole answer came"
            return Unanswered(503, f"{where} does not answer now: {said}, tried {found['requests']} times")
        return found  # this image or question it does not take

    def close(self) -> None:
        """Nothing is kept."""
