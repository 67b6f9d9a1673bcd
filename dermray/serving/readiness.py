"""Which models do not answer."""

import asyncio
import time
from typing import Any

PATIENCE = 2.0  # seconds for an answer, in which a starting or dead replica gives none
FRESH = 1.0  # seconds that an answer is kept: probes of many load balancers ask once


class Readiness:
    """Asks a replica of each model. The question runs beside its work and not behind it: `about` is a look-up."""

    def __init__(self, handles: dict[str, Any], patience: float = PATIENCE) -> None:
        self.handles, self.patience = handles, patience
        self._asked, self._known = 0.0, dict[str, str]()
        self._asking: asyncio.Task[dict[str, str]] | None = None

    async def missing(self) -> dict[str, str]:
        """Why each model that is not ready is not; at most a second old."""
        if self._asked and time.monotonic() - self._asked < FRESH:
            return self._known
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)  # a probe that hangs up leaves the question to the others

    async def _ask_all(self) -> dict[str, str]:
        said = await asyncio.gather(*(self._ask(handle) for handle in self.handles.values()))
        self._known = {name: why for name, why in zip(self.handles, said, strict=True) if why}
        self._asked = time.monotonic()
        return self._known

    async def _ask(self, handle: Any) -> str | None:
        try:
            async with asyncio.timeout(self.patience):
                await handle.about.remote()
        except TimeoutError:
            return f"no answer within {self.patience:g} s"
        except Exception as error:  # whatever keeps it from answering keeps it from working
            return type(error).__name__
        return None
