"""A completions server on loopback: the embedded model over real HTTP, with faults that a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from ssb_core import models
from ssb_core.config import Decoding
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest
from ssb_core.engines.seeded_draw import uniforms
from ssb_core.engines.transformers_engine import TransformersSampler
from ssb_core.progress import Progress
from ssb_core.records import Completion

Answer = dict[str, Any]
Fault = Callable[[Request], Awaitable[Response]]
NAME = "served-nano"


class CompletionsServer:
    """The server, with attributes that a test may set before and read after; call `reset` between tests.

    `listing` replaces the list of models, `faults` replace completions one by one, and `change` changes completions.
    `gather` holds completions back until so many are in flight. With `draws_seeded` it has the seeded draw; without, it
    draws from ``seed``, which is repeatable but differs from local engines.
    """

    def __init__(self, model: models.ResolvedModel) -> None:
        self.sampler = TransformersSampler(model, Execution(), None)
        self.app = FastAPI()
        self.app.get("/v1/models")(self.list_models)
        self.app.post("/v1/completions")(self.complete)
        self.turn = asyncio.Lock()
        self.reset()

    def reset(self) -> None:
        self.cards: list[dict[str, Any]] = [{"id": NAME, "parent": None, "max_model_len": 1024}]
        self.listing: Fault | None = None
        self.faults: list[Fault] = []
        self.change: Callable[[Answer], Any] = lambda answer: answer
        self.gather, self.gathered = 0, asyncio.Event()
        self.draws_seeded = True
        self.in_flight = self.most_in_flight = 0
        self.bodies: list[dict[str, Any]] = []
        self.probes: list[dict[str, Any]] = []  # for the seeded draw
        self.keys: set[str | None] = set()
        self.hanging, self.hung_up = threading.Event(), threading.Event()
        self.waiting: list[tuple[SampleRequest, Decoding, asyncio.Future[Completion]]] = []

    async def list_models(self, request: Request) -> Response:
        self.keys.add(request.headers.get("authorization"))
        if self.listing:
            return await self.listing(request)
        return JSONResponse({"object": "list", "data": self.cards})

    async def complete(self, request: Request) -> Response:
        self.keys.add(request.headers.get("authorization"))
        body = await request.json()
        (self.probes if body["max_tokens"] == 1 else self.bodies).append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.faults:
                return await self.faults.pop(0)(request)
            return await self.answers(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, body: dict[str, Any]) -> Answer:
        if body["max_tokens"] == 1:  # the probe for the seeded draw
            seed = body["vllm_xargs"]["ssb"][0]
            return answer([int(self.draws_seeded and uniforms(seed, 1)[0] > 0.5)], "length")
        if self.in_flight >= self.gather:
            self.gathered.set()
        await self.gathered.wait()
        completion = await self._complete(*_parse_body(body))
        return answer(list(completion.completion_ids), completion.finish_reason, completion.text, body["prompt"])

    async def _complete(self, asked: SampleRequest, decoding: Decoding) -> Completion:
        """Sample for all waiting requests at once, if no other request is sampling for them."""
        mine: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.waiting.append((asked, decoding, mine))
        async with self.turn:
            if not mine.done():
                batch, self.waiting = self.waiting, []
                completions = await asyncio.to_thread(self._sample, [b[0] for b in batch], batch[0][1])
                for (_, _, future), completion in zip(batch, completions, strict=True):
                    future.set_result(completion)
        return mine.result()

    def _sample(self, batch: list[SampleRequest], decoding: Decoding) -> list[Completion]:
        ((_, completions),) = self.sampler.sample([(0, batch)], decoding, Progress())
        return completions

    async def answers(self, request: Request) -> Response:
        """No fault: answer the request."""
        return JSONResponse(self.change(await self._answer(await request.json())))

    async def hangs(self, request: Request) -> Response:
        """A fault: no answer until the client hangs up."""
        self.hanging.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.hung_up.set()
        return Response()


def _parse_body(body: dict[str, Any]) -> tuple[SampleRequest, Decoding]:
    plain = (
        body.get("seed", 0) + 1,
        body["temperature"],
        max(body["top_k"], 0),
    )  # its own draw
    seed, temperature, top_k = body.get("vllm_xargs", {}).get("ssb", plain)
    decoding = Decoding(temperature=temperature, top_k=top_k, max_new_tokens=body["max_tokens"])
    return SampleRequest(tuple(body["prompt"]), seed), decoding


def answer(ids: list[Any], reason: str, text: str = "", prompt: list[int] | None = None) -> Answer:
    """A completion in vLLM's format."""
    choice = {"index": 0, "text": text, "finish_reason": reason, "token_ids": ids, "prompt_token_ids": prompt}
    return {"object": "text_completion", "choices": [choice]}


def refuses(status: int, message: str = "no", **headers: str) -> Fault:
    """A fault: an error in OpenAI's format."""

    async def fault(request: Request) -> Response:
        headers_ = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse({"error": {"message": message, "code": status}}, status, headers_)

    return fault


def says(content: bytes) -> Fault:
    """A fault: the given bytes as the answer."""

    async def fault(request: Request) -> Response:
        return Response(content, media_type="application/json")

    return fault


async def breaks_off(request: Request) -> Response:
    """A fault: the connection is closed in the middle of the answer."""

    async def part() -> AsyncIterator[bytes]:
        yield b'{"choices": '
        raise ConnectionAbortedError

    return StreamingResponse(part())


@contextlib.contextmanager
def running(app: CompletionsServer) -> Iterator[str]:
    """Run the server in a thread and yield its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app.app, log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
