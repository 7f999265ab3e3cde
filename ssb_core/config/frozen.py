"""The base class of every part of a configuration and of every request of a stage."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Frozen(BaseModel):
    """An immutable model. It refuses unknown fields, NaN, infinity, integers beyond 64 bits and invalid Unicode."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("not valid Unicode")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("the number needs more than 64 bits")
        return value
