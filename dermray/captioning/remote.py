"""An OpenAI-compatible endpoint in Ray Data: a shared vLLM server, or a model that only its owner hosts."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from dermray.captioning.engine import ANSWERED, Answer, Ask
from dermray.captioning.settings import RemoteConfig
from dermray.pages import data_url

if TYPE_CHECKING:
    from ray.data import Dataset


def prepared(config: RemoteConfig) -> Answer:
    """See `choose.prepared`.

    Raises:
        ValueError: no key in the environment, or the endpoint does not know the model.
        ConnectionError: the endpoint does not answer.
    """
    key = api_key(config)
    check(config, key)
    return partial(_answer, config=config, key=key)


def _answer(rows: "Dataset", ask: Ask, config: RemoteConfig, key: str) -> "Dataset":
    from ray.data import ActorPoolStrategy

    return rows.map_batches(
        Client,
        fn_constructor_args=(ask, config, key),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=config.replicas),
        num_cpus=0.1,  # it waits for answers
    )


def api_key(config: RemoteConfig) -> str:
    """The key out of the environment.

    Raises:
        ValueError: it is not there.
    """
    key = os.environ.get(config.key_variable)
    if not key:
        raise ValueError(
            f"remote.key_variable={config.key_variable}: not set; export {config.key_variable}=... (any word for a "
            "server that asks for none)"
        )
    return key


def check(config: RemoteConfig, key: str) -> None:
    """Ask the endpoint for its models before anything expensive starts; raises as `prepared` says."""
    from openai import APIConnectionError, APIStatusError, OpenAI

    client = OpenAI(api_key=key, base_url=config.base_url, timeout=config.timeout, max_retries=config.max_retries)
    try:
        names = [model.id for model in client.models.list()]
    except APIConnectionError as error:
        raise ConnectionError(f"remote.base_url={config.base_url}: no answer ({error.__cause__ or error})") from None
    except APIStatusError as error:
        if error.status_code in (404, 405):  # not every gateway lists its models
            return
        raise ValueError(
            f"remote.base_url={config.base_url}: {error.status_code} {error.message}; is {config.key_variable} right?"
        ) from None
    if config.model not in names:
        raise ValueError(f"remote.model={config.model!r}: not served at {config.base_url}; there are {names[:10]}")


class Client:
    """Sends a block's rows, so many at a time and so many a minute."""

    def __init__(self, ask: Ask, config: RemoteConfig, key: str) -> None:
        from openai import AsyncOpenAI

        self.ask, self.config = ask, config
        self.client = AsyncOpenAI(
            api_key=key, base_url=config.base_url, timeout=config.timeout, max_retries=config.max_retries
        )
        self.options = options(ask, config)
        self.room = asyncio.Semaphore(config.concurrency)
        self.limiter = _limiter(config)
        ask.ledger.engine_ready()

    async def __call__(self, table: pa.Table) -> AsyncIterator[pa.Table]:
        """The table with the columns of ANSWERED."""
        self.ask.ledger.begun(table["unreadable"].null_count)
        rows = table.select(["shown", "question", "unreadable"]).to_pylist()
        answers = await asyncio.gather(*(self._one(row) for row in rows))
        for name, kind in ANSWERED:
            table = table.append_column(name, pa.array([a.get(name) for a in answers], kind))
        yield table

    async def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        from openai import APIError

        if row["unreadable"]:
            return {}
        async with self.room:
            if self.limiter is not None:
                await self.limiter.acquire()
            try:
                raw = await self.client.chat.completions.with_raw_response.create(
                    messages=cast(Any, messages(row["shown"], row["question"])), **self.options
                )
            except APIError as error:  # retried in vain, or not worth a retry
                status = getattr(error, "status_code", None)
                tries = 1 if status is not None and status < 500 and status not in (408, 409, 429) else None
                return {
                    "engine_error": f"{type(error).__name__}: {error.message}",
                    "requests": tries or self.config.max_retries + 1,
                }
        return _columns(raw.parse(), raw.retries_taken + 1)


def messages(image: bytes, question: str) -> list[dict[str, Any]]:
    """A chat of one question about one image."""
    content = [{"type": "image_url", "image_url": {"url": data_url(image)}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def options(ask: Ask, config: RemoteConfig) -> dict[str, Any]:
    """What a request says beside its messages: model, sampling, and the schema to decode by."""
    found = {"model": config.model} | ask.sampling.model_dump()
    if ask.schema is not None:
        schema = {"name": "answer", "schema": ask.schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    return found


def _limiter(config: RemoteConfig) -> Any:
    if config.requests_per_minute is None:
        return None
    from aiolimiter import AsyncLimiter

    seconds_between = 60 * config.replicas / config.requests_per_minute
    return AsyncLimiter(1, seconds_between)  # one at a time: no burst at the start of a minute


def _columns(completion: Any, requests: int) -> dict[str, Any]:
    choice, usage = completion.choices[0], completion.usage
    return {
        "text": choice.message.content or "",
        "tokens_in": usage.prompt_tokens if usage else None,
        "tokens_out": usage.completion_tokens if usage else None,
        "finish_reason": choice.finish_reason,
        "requests": requests,
    }
