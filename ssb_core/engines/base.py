"""The part that all engines share: the model's tokenizer, its end-of-turn tokens and its context length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import models, prompts
from ..config import Decoding
from ..errors import ConfigError
from ..models import ResolvedModel


class BaseSampler:
    """`encode` and `fits` of a `Sampler`. An engine with a limit of its own sets `limit` and `limited_by`."""

    def __init__(self, model: ResolvedModel) -> None:
        self.tokenizer: Any = models.load_tokenizer(model)
        self.stop_ids = models.end_of_turn(model, self.tokenizer)
        self.context = models.context_length(model)
        self.limit = self.context  # the tokens that the engine takes, if it takes fewer than the model's context
        self.limited_by = ""  # for the error: the setting or cause of the limit, and the remedy

    def encode(self, messages: prompts.Messages) -> tuple[int, ...]:
        return prompts.encode(self.tokenizer, messages)

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        """Whether the prompt and a full-length completion fit into the model's context.

        Raises:
            ConfigError: they fit into the context, but not into the engine's own limit.
        """
        tokens = len(prompt_ids) + decoding.max_new_tokens
        if self.limit < tokens <= self.context:
            raise ConfigError(
                f"a prompt and its completion may take {tokens} tokens, which the model can do ({self.context}), but "
                f"only {self.limit} are allowed by {self.limited_by}"
            )
        return tokens <= self.context
