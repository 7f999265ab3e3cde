"""The client of an OpenAI-compatible server: bounded requests, retries where they may help, checked answers."""

from __future__ import annotations

import asyncio
import json
import random
import time
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from ..config.execution import ServerOptions
from ..config.secrets import redact, server_key
from ..errors import BUSY, ConfigError, EngineError
from .async_loop import Note

MAX_BYTES = 2**25  # of an answer: a hundred times the size of a long completion
FIRST_WAIT = 1.0  # seconds before the second try; doubled before each further one
LONGEST_WAIT = 60.0  # seconds
CONNECT_SECONDS = 20.0

M = TypeVar("M", bound="ServerMessage")
_jitter = random.Random()  # not the shared generator, which other code may have seeded


class ServerMessage(BaseModel):
    """A message from a server. Fields that are not declared may be anything."""

    model_config = ConfigDict(strict=True, frozen=True)


class Refused(EngineError):
    """The server understood the request and will not do it."""

    transient = False


class _FailedTry(Exception):
    """A try failed, but another may succeed. `wait` is the server's own waiting time, in seconds."""

    def __init__(self, message: str, detail: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.detail = detail
        self.wait = wait


class Server:
    """A connection to a server, with retries where they may help. The server's key appears in its requests only."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.key = server_key()
        try:
            self.url = httpx.URL(options.url.rstrip("/") + "/")
        except httpx.InvalidURL as e:
            raise ConfigError(f"execution.server.url: {options.url} is not a URL ({e})") from None
        self.client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # `_try` limits a whole try
            limits=httpx.Limits(max_connections=options.concurrency),
        )

    def __str__(self) -> str:
        return f"the server at {self.options.url}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def ask(self, path: str, answer: type[M], body: dict[str, Any] | None = None, note: Note | None = None) -> M:
        """POST `body`, or GET if there is none, and read the answer as a message of type `answer`.

        `note` is called with a line for the user when a try failed and another one follows.

        Raises:
            EngineError: every try failed, the server refused the request, or the answer cannot be read.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return answer.model_validate_json(await self._try(path, body))
            except ValidationError as e:
                raise EngineError(f"{self} gave an answer that cannot be read: {_explain(e)}") from None
            except _FailedTry as failure:
                if attempt > self.options.retries:
                    tries = f" ({attempt} tries)" if attempt > 1 else ""
                    raise EngineError(self.safe(f"{self} {failure}{tries}: {failure.detail}")) from None
                if note:
                    note(f"{self} {failure}: trying again (execution.server.retries)")
                await asyncio.sleep(max(_backoff(attempt), min(failure.wait, LONGEST_WAIT)))

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()

    async def _try(self, path: str, body: dict[str, Any] | None) -> bytes:
        method = "GET" if body is None else "POST"
        limit = self.options.timeout_seconds
        try:
            async with asyncio.timeout(limit), self.client.stream(method, self.url.join(path), json=body) as response:
                content = await self._read(response)
        except TimeoutError:
            raise _FailedTry("gave no answer in time", f"execution.server.timeout_seconds is {limit:g}") from None
        except httpx.RequestError as e:
            raise _FailedTry("cannot be reached", f"{type(e).__name__} {e}") from None
        status = response.status_code
        if status == BUSY or status >= 500:
            wait = _retry_after(response.headers.get("Retry-After", ""))
            raise _FailedTry(f"answered with status {status}", _message(content), wait)
        if status != 200:
            raise Refused(self.safe(f"{self} answered with status {status}: {_message(content)}"))
        return content

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise EngineError(f"{self} gave an answer of more than {MAX_BYTES} bytes")
        return bytes(content)

    def safe(self, text: str) -> str:
        """`text` on one line of at most 500 characters, without the key, which the server may quote."""
        return "".join(c if c.isprintable() else " " for c in redact(text))[:500]


def _backoff(attempt: int) -> float:
    """Seconds to wait after this try, with jitter, so that requests that failed together do not return together."""
    return min(FIRST_WAIT * 2.0 ** (attempt - 1), LONGEST_WAIT) * _jitter.uniform(0.5, 1.0)


def _retry_after(header: str) -> float:
    """The seconds that a Retry-After header asks for; it is a number or a date."""
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def _message(content: bytes) -> str:
    """The text of an error, in OpenAI's form or any other."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return content[:1000].decode(errors="replace")


def _explain(error: ValidationError) -> str:
    """The first mistake in an answer, without quoting the answer."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']:.200}"
