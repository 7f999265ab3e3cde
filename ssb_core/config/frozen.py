"""The base classes of the sections of a configuration and of the requests of stages."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


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


class Section(Frozen):
    """A section of a configuration. It refuses true and false where pydantic would read them as the numbers 1 and 0."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        accepted = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (accepted, *get_args(accepted)):
            raise ValueError("true and false are not accepted")
        return value
