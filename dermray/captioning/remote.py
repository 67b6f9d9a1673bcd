"""An OpenAI-compatible endpoint in Ray Data: a shared vLLM server, or a model that only its owner hosts."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from dermray.captioning import cache, replies
from dermray.captioning.budget import ErrorBudget
from dermray.captioning.engine import ANSWERED, Answer, Ask, Manner
from dermray.captioning.settings import RemoteConfig
from dermray.pages import data_url

if TYPE_CHECKING:
    from ray.data import Dataset


def prepared(config: RemoteConfig) -> Answer:
    """See `choose.prepared`.

    Raises:
        ValueError: no key in the environment, or the endpoint does not know the model, or is none.
        ConnectionError: the endpoint does not answer.
    """
    check(config, api_key(config))
    return partial(_answer, config=config)


def _answer(rows: "Dataset", ask: Ask, config: RemoteConfig) -> "Dataset":
    from ray.data import ActorPoolStrategy

    return rows.map_batches(
        Client,
        fn_constructor_args=(ask, config),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=config.replicas),
        num_cpus=0.1,  # it waits for answers
    )


def api_key(config: RemoteConfig) -> str:
    """The key out of this process's environment. It never travels: what Ray hands to an actor stays in its events.

    Raises:
        ValueError: it is not there.
    """
    key = os.environ.get(config.key_variable)
    if not key:
        raise ValueError(
            f"remote.key_variable={config.key_variable}: not set on {socket.gethostname()}; export "
            f"{config.key_variable}=... (any word for a server that asks for none), on a cluster before `ray start` on "
            "every node"
        )
    return key


def check(config: RemoteConfig, key: str) -> None:
    """Ask the endpoint for its models before anything expensive starts; raises as `prepared` says."""
    from openai import APIConnectionError, APIStatusError, OpenAI

    client = OpenAI(api_key=key, base_url=config.base_url, timeout=config.timeout, max_retries=config.max_retries)
    try:
        reply = client.models.with_raw_response.list()
    except APIConnectionError as error:
        raise ConnectionError(f"remote.base_url={config.base_url}: no answer ({error.__cause__ or error})") from None
    except APIStatusError as error:
        if error.status_code in (404, 405):  # not every gateway lists its models
            return
        raise ValueError(
            f"remote.base_url={config.base_url}: {_reason(error)}; is {config.key_variable} right?"
        ) from None
    try:
        models = replies.decode(reply.http_response.content).get("data")
    except ValueError as error:
        raise ValueError(f"remote.base_url={config.base_url}: {error}; does the address lack its /v1?") from None
    names = [model.get("id") for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    if names and _bare(config.model) not in map(_bare, names):
        raise ValueError(f"remote.model={config.model!r}: not served at {config.base_url}; there are {names[:10]}")


def _bare(model: Any) -> str:
    """Gemini lists `models/x`, and takes `x` too."""
    return str(model).removeprefix("models/")


class Chats:
    """Asks questions about images, so many at a time and so many a minute, each again as often as config says."""

    def __init__(self, config: RemoteConfig, key: str) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        limiter = _limiter(config)
        # as hooks of HTTP, so that they see each try
        hooks: dict[str, list[Any]] = {
            "request": [lambda _: limiter.acquire()] if limiter else [],
            "response": [_whole],
        }
        self.client = AsyncOpenAI(
            api_key=key,
            base_url=config.base_url,
            timeout=config.timeout,
            max_retries=config.max_retries,
            http_client=DefaultAsyncHttpxClient(event_hooks=hooks),
        )
        self.room = asyncio.Semaphore(config.concurrency)

    async def send(self, chat: list[dict[str, Any]], how: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Columns of the answer, and whether it was one that is paid for. To be called inside `room`.

        Args:
            chat: see `messages`. how: see `options`.

        Where there is none, `error_status` beside the columns is HTTP's, 0 where nothing came back.
        """
        from openai import APIError

        try:
            raw = await self.client.chat.completions.with_raw_response.create(messages=cast(Any, chat), **how)
        except APIError as error:  # retried in vain, or not worth a retry
            retries = int(error.request.headers.get("x-stainless-retry-count", 0))  # as openai's client counts them
            status = getattr(error, "status_code", 0)
            return {"engine_error": _reason(error), "error_status": status, "requests": retries + 1}, False
        body = replies.decode(raw.http_response.content)
        return replies.columns(body) | {"requests": raw.retries_taken + 1}, replies.paid(body)


class Client:
    """Sends a block's rows."""

    def __init__(self, ask: Ask, config: RemoteConfig) -> None:
        self.ask, self.config, self.key = ask, config, api_key(config)
        self.budget = ErrorBudget(ask.max_engine_errors)
        self.chats = Chats(config, self.key)
        self.options = options(ask, config)
        self.earlier = ask.cache.earlier()
        ask.ledger.engine_ready()

    async def __call__(self, table: pa.Table) -> AsyncIterator[pa.Table]:
        """The table with the columns of ANSWERED."""
        name = self.ask.id_column
        columns = [c for c in (name, "shown", "question", "unreadable", "attempts") if c in table.column_names]
        rows = table.select(columns).to_pylist()
        keys = [None if row["unreadable"] else self._key(row) for row in rows]
        async with self.ask.cache.block(table[name].to_pylist()) as block:
            known = self.earlier | block.answers
            await self.ask.ledger.begun(sum(key is not None and key not in known for key in keys))
            answers = await asyncio.gather(
                *(self._one(row, key, known, block) for row, key in zip(rows, keys, strict=True))
            )
        if any(answer.get("engine_error") for answer in answers):
            # before these rows are written off: a key that was revoked, or a server that went, is no fault of theirs
            await asyncio.to_thread(check, self.config, self.key)
        for column, kind in ANSWERED:
            table = table.append_column(column, pa.array([a.get(column) for a in answers], kind))
        yield table

    def _key(self, row: dict[str, Any]) -> str:
        # with the tries before this run, because `--retry-failed` asks for another answer
        return cache.key(
            self.config.base_url,
            self.options,
            messages(row["shown"], row["question"]),
            row[self.ask.id_column],
            row.get("attempts"),
        )

    async def _one(
        self, row: dict[str, Any], key: str | None, known: dict[str, dict[str, Any]], block: cache.Block
    ) -> dict[str, Any]:
        if key is None:
            return {}
        if key in known:
            return known[key]
        async with self.chats.room:
            answer, paid = await self.chats.send(messages(row["shown"], row["question"]), self.options)
            self.budget.note(answer.get("engine_error"))
            if paid:  # before another is asked: no more than `concurrency` answers are ever unwritten
                await block.keep(key, row[self.ask.id_column], answer)
        return answer


async def _whole(response: Any) -> None:
    """Hook of httpx: a reply that is cut, no JSON or an error that passes counts as a lost connection, and such are
    sent again by openai's client."""
    import httpx2

    if response.status_code == 425:  # "too early", which the client does not know
        response.headers["x-should-retry"] = "true"
    if not response.is_success:
        return
    await response.aread()
    try:
        error = replies.error_of(replies.decode(response.content))
    except ValueError as reason:
        raise httpx2.RemoteProtocolError(str(reason), request=response.request) from None
    if error and replies.passes(error):
        said = f"an error in a reply of status 200: {replies.message_of(error)}"
        raise httpx2.RemoteProtocolError(said, request=response.request)


def _reason(error: Any) -> str:
    """Why there is no answer, in one line."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return "no reply in time (remote.timeout)"
    if isinstance(error, APIConnectionError):
        cause = error.__cause__ or error
        return f"no whole reply: {replies.encodable(str(cause)) or type(cause).__name__}"
    if isinstance(error, APIStatusError):
        said = replies.message_of(error.body) if error.body else error.response.reason_phrase
        return f"{error.status_code}: {said}"
    return f"{type(error).__name__}: {error.message}"


def messages(image: bytes, question: str) -> list[dict[str, Any]]:
    """A chat of one question about one image."""
    content = [{"type": "image_url", "image_url": {"url": data_url(image)}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def options(manner: Manner, config: RemoteConfig) -> dict[str, Any]:
    """What a request says beside its messages: model, sampling, and the schema to decode by."""
    drawn = manner.sampling.model_dump(exclude=set(config.not_sent))
    found = {"model": config.model, config.max_tokens_as: drawn.pop("max_tokens")} | drawn
    if config.reasoning_effort is not None:
        found["reasoning_effort"] = config.reasoning_effort
    if config.chat_template_kwargs:
        found["extra_body"] = {"chat_template_kwargs": config.chat_template_kwargs}
    if manner.schema is not None:
        schema = {"name": "answer", "schema": manner.schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {name: value for name, value in found.items() if name not in config.leave_out}


def _limiter(config: RemoteConfig) -> Any:
    if config.requests_per_minute is None:
        return None
    from aiolimiter import AsyncLimiter

    seconds_between = 60 * config.replicas / config.requests_per_minute
    return AsyncLimiter(1, seconds_between)  # one at a time: no burst at the start of a minute
