"""What every engine has in common: the model's tokenizer, its ends of turn, and how much fits into its context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import models, prompts
from ..config import Decoding
from ..errors import ConfigError
from ..models import ResolvedModel


class BaseSampler:
    """`encode` and `fits` of a `Sampler`. An engine may take less than the model does, by a setting of its own."""

    def __init__(self, model: ResolvedModel) -> None:
        self.tokenizer: Any = models.load_tokenizer(model)
        self.stop_ids = models.end_of_turn(model, self.tokenizer)
        self.context = models.context_length(model)
        self.limit = self.context  # tokens that the engine takes
        self.limited_by = ""  # what sets the limit, and the remedy

    def encode(self, messages: prompts.Messages) -> tuple[int, ...]:
        return prompts.encode(self.tokenizer, messages)

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        """Whether the prompt and a full-length completion fit into the model's context.

        Raises:
            ConfigError: they do, but the engine was set to take less.
        """
        wanted = len(prompt_ids) + decoding.max_new_tokens
        if self.limit < wanted <= self.context:
            raise ConfigError(
                f"a prompt and its completion may take {wanted} tokens, which the model can do ({self.context}), but "
                f"only {self.limit} are allowed by {self.limited_by}"
            )
        return wanted <= self.context
