"""Sampling with an OpenAI-compatible completions server that somebody runs already, such as ``vllm serve``.

Prompts travel as token ids, and ids come back where the server returns them, as vLLM does. From others comes text,
which has to be encoded again: the one departure from tokens in, tokens out, and the user is told. Where a completion
ends is decided here, by the model's own end-of-turn tokens. What a server says is checked before it is believed, but
for one thing that no server can prove: that the weights behind the name are those of this run.
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
from .async_loop import Loop, Tell
from .base import BaseSampler
from .sampler import K, SampleRequest
from .seeded_draw import uniforms
from .server_client import Refused, Said, Server

REMEDY = (
    "remedy: start vLLM with VLLM_USE_V2_MODEL_RUNNER=0 and --logits-processors "
    "ssb_core.engines.vllm_engine:SeededDraw (this package must be installed there), or set "
    "execution.server.seeded_draw to false"
)


class ServerSampler(BaseSampler):
    """`Sampler` over a completions server; requests of several groups are in flight at once."""

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
        self.loop = Loop("completions server")
        self.told: set[str] = set()
        # Encoding text without special tokens changes the tokenizer, which the caller's thread uses meanwhile.
        self.encoder: Any = models.load_tokenizer(model)
        self.encoded_again = False

    @property
    def name(self) -> str:
        drawn = "seeded draw" if self.seeded_draw else "the server's own draw"
        return f"openai ({drawn}{', text encoded again' if self.encoded_again else ''})"

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        async def complete(request: SampleRequest, tell: Tell) -> Completion:
            def once(text: str) -> None:
                if text not in self.told:
                    self.told.add(text)
                    tell(text)

            if decoding.temperature and not self.seeded_draw:
                once(f"{self.server} draws by itself: not the completions that other engines would draw")
            body = request_body(self.card.id, request, decoding, self.stop_ids, self.seeded_draw)
            answer = await self.server.ask("completions", Answer, body, once)
            try:
                return self._completion(answer.choices[0], request, decoding, once)
            except ValueError as e:
                raise EngineError(f"{self.server} {e}") from None

        return self.loop.sample(groups, complete, self.options.concurrency, progress)

    def close(self) -> None:
        self.loop.run(self.server.close())
        self.loop.close()

    def _completion(self, choice: Choice, request: SampleRequest, decoding: Decoding, tell: Tell) -> Completion:
        if choice.prompt_token_ids not in (None, request.prompt_ids):
            raise ValueError("changed the prompt it was sent: it must take token ids as they are")
        if choice.token_ids is None:
            tell(f"{self.server} returns text only, which is encoded again: tokens may differ from those sampled")
            ids = self._encoded_again(choice)
        else:
            ids = self._checked(choice.token_ids, choice.finish_reason, decoding.max_new_tokens)
        reason: Literal["stop", "length"] = "stop" if ids and ids[-1] in self.stop_ids else "length"
        return Completion(ids, self.tokenizer.decode(ids, skip_special_tokens=True), reason)

    def _encoded_again(self, choice: Choice) -> tuple[int, ...]:
        """The ids of a text, in which nothing stands for a special token, and of the end of the turn if it ended."""
        self.encoded_again = True
        ids = self.encoder.encode(choice.text, add_special_tokens=False, split_special_tokens=True)
        return (*ids, self._end_of_turn()) if choice.finish_reason == "stop" else tuple(ids)

    def _end_of_turn(self) -> int:
        """The token that ends a turn, where there are several."""
        likely = (stop_tokens.closing_id(self.tokenizer), self.tokenizer.eos_token_id, *self.stop_ids)
        found: int = next(token for token in likely if token in self.stop_ids)
        return found

    def _checked(self, ids: tuple[int, ...], finish_reason: str, wanted: int) -> tuple[int, ...]:
        """`ids` up to the first end-of-turn token.

        Raises:
            ValueError: this model cannot have sampled them as it was asked to; the message goes on from "the server".
        """
        if bad := [i for i in ids if not 0 <= i < self.vocabulary]:
            raise ValueError(f"returned token {bad[0]}, but this model's vocabulary ends before {self.vocabulary}")
        end = next((n for n, token in enumerate(ids, 1) if token in self.stop_ids), None)
        if end is None and finish_reason == "stop":
            raise ValueError(f"ended a turn with none of this model's tokens for that {self.stop_ids}: {ids[-1:]}")
        if end is None and len(ids) != wanted:
            raise ValueError(f"cut a completion at {len(ids)} tokens, not at {wanted} as it was asked to")
        return ids[:end]


def served(options: ServerOptions) -> tuple[Card, bool]:
    """The model to ask for, as the server describes it, and whether the server has the seeded draw, if that is wanted.

    The model is the one configured, or the only one that is no adapter.

    Raises:
        ConfigError: the server cannot be reached, refuses the key, does not serve the model (or several, of which none
            is configured), or was started without the logits processor that ``seeded_draw`` needs.
    """

    async def find() -> tuple[Card, bool]:
        async with Server(options) as server:
            card = _pick((await server.ask("models", Cards)).data, server)
            drawn = options.seeded_draw is not False and await _has_seeded_draw(server, card)
            if options.seeded_draw and not drawn:
                raise ConfigError(f"execution.server.seeded_draw is set, but {server} does not draw by it\n  {REMEDY}")
            return card, drawn

    with Loop("completions server") as loop:
        try:
            return loop.run(find())
        except EngineError as e:
            raise ConfigError(
                f"execution.server: {e}\n  remedy: start the server, correct execution.server.url (up to and including "
                f"/v1), or set {SERVER_KEY} if it asks for a key"
            ) from None


def check(options: ServerOptions) -> None:
    """Find out before any work whether the server can be used, with a single try of a minute at most.

    Raises:
        ConfigError: it cannot (see `served`).
    """
    limit = min(options.timeout_seconds, 60.0)
    served(options.model_copy(update={"retries": 0, "timeout_seconds": limit}))


def request_body(
    name: str, request: SampleRequest, decoding: Decoding, stop_ids: Sequence[int], seeded_draw: bool
) -> dict[str, Any]:
    """One request. Whatever a server would else take from the model's suggestions for chatting is named neutrally."""
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
        drawn = [request.seed, decoding.temperature, decoding.top_k]
        return body | {"temperature": 0.0, "vllm_xargs": {"ssb": drawn}}
    return body | {"seed": request.seed}


class Card(Said):
    """A served model. Adapters have a `parent`."""

    id: str
    parent: str | None = None
    max_model_len: int | None = None


class Cards(Said):
    """The list of models."""

    data: tuple[Card, ...]


class Choice(Said):
    """A completion. The ids are an extension; servers without it leave them out."""

    finish_reason: Literal["stop", "length"]
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None


class Answer(Said):
    """The answer to a request, which asks for one completion."""

    choices: tuple[Choice, ...] = Field(min_length=1, max_length=1)


def _pick(cards: Sequence[Card], server: Server) -> Card:
    """The card of the model to ask for."""
    name, bases = server.options.model, [card for card in cards if card.parent is None]
    found = [card for card in cards if card.id == name] if name else bases
    if len(found) == 1:
        return found[0]
    offer = ", ".join(card.id for card in bases) or "none"
    wanted = f"does not serve execution.server.model {name!r}" if name else "serves no model, or more than one"
    raise ConfigError(
        server.safe(f"{server} {wanted} (it serves: {offer})")
        + "\n  remedy: set execution.server.model to the name under which it serves the model of this run"
    )


async def _has_seeded_draw(server: Server, card: Card) -> bool:
    """Draw one of two nearly equal tokens with a low and a high number; greedy sampling would not tell them apart."""
    first = {uniforms(seed, 1)[0] < 0.5: seed for seed in range(64)}
    flat = Decoding(temperature=1e6, top_k=2, max_new_tokens=1)
    bodies = [request_body(card.id, SampleRequest((0,), seed), flat, (), True) for seed in first.values()]
    try:
        answers = [await server.ask("completions", Answer, body) for body in bodies]
    except Refused:  # it knows no such parameter
        return False
    return answers[0].choices[0].token_ids != answers[1].choices[0].token_ids
