"""What every part of a configuration, and every request of a stage, is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Frozen(BaseModel):
    """Cannot be changed, refuses unknown fields, NaN, infinity, numbers beyond 64 bits and halves of characters."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("not valid Unicode")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("a number of more than 64 bits")
        return value
