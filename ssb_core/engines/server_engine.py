"""Sampling with a running OpenAI-compatible completions server, such as ``vllm serve``.

Prompts are sent as token ids. vLLM returns token ids too; other servers return text, which is encoded again: this is
the one departure from tokens in, tokens out, and the user gets a note. The model's own end-of-turn tokens decide here
where a completion ends. Every answer is checked, with one exception that no server can prove: that the weights behind
the model's name are those of this run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from .. import models
from ..config import Decoding
from ..config.execution import Execution, ServerOptions
from ..config.secrets import SERVER_KEY
from ..errors import ConfigError, EngineError
from ..models import ResolvedModel
from ..progress import Progress
from ..prompts import stop_tokens
from ..records import Completion
from .async_loop import AsyncLoop, Note
from .base import BaseSampler
from .sampler import K, SampleRequest
from .seeded_draw import uniforms
from .server_client import Refused, Server, ServerMessage

REMEDY = (
    "remedy: start vLLM with VLLM_USE_V2_MODEL_RUNNER=0 and --logits-processors "
    "ssb_core.engines.vllm_engine:SeededDraw (this package must be installed there), or set "
    "execution.server.seeded_draw to false"
)


class ServerSampler(BaseSampler):
    """`Sampler` over a completions server. Requests of several groups are in flight at once."""

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        """Find the model on the server.

        Raises:
            ConfigError: the server cannot be used as configured (see `served`).
        """
        super().__init__(model)
        self.options = execution.server
        self.card, self.seeded_draw = served(self.options)
        self.vocabulary: int = models.load_config(model).vocab_size
        self.limit = self.card.max_model_len or self.context
        self.server = Server(self.options)
        self.limited_by = f"{self.server}: serve it with --max-model-len {self.context}, or lower max_new_tokens"
        self.loop = AsyncLoop("completions server")
        self.notes: set[str] = set()
        # Encoding text without special tokens changes the tokenizer, and the caller's thread uses the other one.
        self.encoder: Any = models.load_tokenizer(model)
        self.encoded_again = False

    @property
    def name(self) -> str:
        drawn = "seeded draw" if self.seeded_draw else "the server's own draw"
        return f"openai ({drawn}{', text encoded again' if self.encoded_again else ''})"

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        async def complete_one(request: SampleRequest, note: Note) -> Completion:
            def note_once(text: str) -> None:
                if text not in self.notes:
                    self.notes.add(text)
                    note(text)

            if decoding.temperature and not self.seeded_draw:
                note_once(f"{self.server} draws by itself: not the completions that other engines would draw")
            body = request_body(self.card.id, request, decoding, self.stop_ids, self.seeded_draw)
            answer = await self.server.ask("completions", Answer, body, note_once)
            try:
                return self._completion(answer.choices[0], request, decoding, note_once)
            except ValueError as e:
                raise EngineError(f"{self.server} {e}") from None

        return self.loop.sample(groups, complete_one, self.options.concurrency, progress)

    def close(self) -> None:
        self.loop.run(self.server.close())
        self.loop.close()

    def _completion(self, choice: Choice, request: SampleRequest, decoding: Decoding, note: Note) -> Completion:
        if choice.prompt_token_ids not in (None, request.prompt_ids):
            raise ValueError("changed the prompt it was sent: it must take token ids as they are")
        if choice.token_ids is None:
            note(f"{self.server} returns text only, which is encoded again: tokens may differ from those sampled")
            ids = self._encoded_again(choice)
        else:
            ids = self._checked(choice.token_ids, choice.finish_reason, decoding.max_new_tokens)
        reason: Literal["stop", "length"] = "stop" if ids and ids[-1] in self.stop_ids else "length"
        return Completion(ids, self.tokenizer.decode(ids, skip_special_tokens=True), reason)

    def _encoded_again(self, choice: Choice) -> tuple[int, ...]:
        """Encode the text, without special tokens, and append an end-of-turn token if the completion stopped."""
        self.encoded_again = True
        ids = self.encoder.encode(choice.text, add_special_tokens=False, split_special_tokens=True)
        return (*ids, self._end_of_turn()) if choice.finish_reason == "stop" else tuple(ids)

    def _end_of_turn(self) -> int:
        """The most likely one of the end-of-turn tokens: the chat template's, else the tokenizer's."""
        candidates = (stop_tokens.closing_id(self.tokenizer), self.tokenizer.eos_token_id, *self.stop_ids)
        token: int = next(token for token in candidates if token in self.stop_ids)
        return token

    def _checked(self, ids: tuple[int, ...], finish_reason: str, cap: int) -> tuple[int, ...]:
        """Check sampled ids, and cut them off after the first end-of-turn token. `cap` is `max_new_tokens`.

        Raises:
            ValueError: this model cannot have sampled these ids; the message continues "the server at ...".
        """
        if bad := [i for i in ids if not 0 <= i < self.vocabulary]:
            raise ValueError(f"returned token {bad[0]}, but this model's vocabulary ends before {self.vocabulary}")
        end = next((n for n, token in enumerate(ids, 1) if token in self.stop_ids), None)
        if end is None and finish_reason == "stop":
            raise ValueError(f"ended a turn with none of this model's tokens for that {self.stop_ids}: {ids[-1:]}")
        if end is None and len(ids) != cap:
            raise ValueError(f"cut a completion at {len(ids)} tokens, not at {cap} as it was asked to")
        return ids[:end]


def served(options: ServerOptions) -> tuple[Card, bool]:
    """Find the model on the server, and whether the server has the seeded draw.

    The model is the configured one, or the only one that is no adapter. If `seeded_draw` is set to false the server is
    not asked for it.

    Raises:
        ConfigError: the server cannot be reached, refuses the key, does not serve the model, serves several models
            while none is configured, or lacks the logits processor that `seeded_draw` requires.
    """

    async def find() -> tuple[Card, bool]:
        async with Server(options) as server:
            card = _pick((await server.ask("models", Cards)).data, server)
            drawn = options.seeded_draw is not False and await _has_seeded_draw(server, card)
            if options.seeded_draw and not drawn:
                raise ConfigError(f"execution.server.seeded_draw is set, but {server} does not draw by it\n  {REMEDY}")
            return card, drawn

    with AsyncLoop("completions server") as loop:
        try:
            return loop.run(find())
        except EngineError as e:
            raise ConfigError(
                f"execution.server: {e}\n  remedy: start the server, correct execution.server.url (up to and including "
                f"/v1), or set {SERVER_KEY} if it asks for a key"
            ) from None


def check(options: ServerOptions) -> None:
    """Check before any work that the server can be used, with a single try of a minute at most.

    Raises:
        ConfigError: the server cannot be used (see `served`).
    """
    limit = min(options.timeout_seconds, 60.0)
    served(options.model_copy(update={"retries": 0, "timeout_seconds": limit}))


def request_body(
    name: str, request: SampleRequest, decoding: Decoding, stop_ids: Sequence[int], seeded_draw: bool
) -> dict[str, Any]:
    """The body of one request. It neutralises every setting that a server would take from the model's suggestions."""
    body: dict[str, Any] = {
        "model": name,
        "prompt": list(request.prompt_ids),
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_k": decoding.top_k or -1,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": list(stop_ids),
        "return_token_ids": True,
    }
    if decoding.temperature == 0:
        return body
    if seeded_draw:
        settings = [request.seed, decoding.temperature, decoding.top_k]
        return body | {"temperature": 0.0, "vllm_xargs": {"ssb": settings}}
    return body | {"seed": request.seed}


class Card(ServerMessage):
    """A served model. Adapters have a `parent`."""

    id: str
    parent: str | None = None
    max_model_len: int | None = None


class Cards(ServerMessage):
    """The list of served models."""

    data: tuple[Card, ...]


class Choice(ServerMessage):
    """A completion. The token ids are an extension of the API, which some servers do not have."""

    finish_reason: Literal["stop", "length"]
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None


class Answer(ServerMessage):
    """The answer to a request for one completion."""

    choices: tuple[Choice, ...] = Field(min_length=1, max_length=1)


def _pick(cards: Sequence[Card], server: Server) -> Card:
    """The card of the configured model, or of the only one that is no adapter."""
    name, bases = server.options.model, [card for card in cards if card.parent is None]
    candidates = [card for card in cards if card.id == name] if name else bases
    if len(candidates) == 1:
        return candidates[0]
    offer = ", ".join(card.id for card in bases) or "none"
    problem = f"does not serve execution.server.model {name!r}" if name else "serves no model, or more than one"
    raise ConfigError(
        server.safe(f"{server} {problem} (it serves: {offer})")
        + "\n  remedy: set execution.server.model to the name under which it serves the model of this run"
    )


async def _has_seeded_draw(server: Server, card: Card) -> bool:
    """Whether a low and a high number draw different ones of two nearly equal tokens, as greedy sampling would not."""
    seeds = {uniforms(seed, 1)[0] < 0.5: seed for seed in range(64)}
    flat = Decoding(temperature=1e6, top_k=2, max_new_tokens=1)
    bodies = [request_body(card.id, SampleRequest((0,), seed), flat, (), True) for seed in seeds.values()]
    try:
        answers = [await server.ask("completions", Answer, body) for body in bodies]
    except Refused:  # it knows no such parameter
        return False
    return answers[0].choices[0].token_ids != answers[1].choices[0].token_ids
