"""Every kind of student that is evaluated: that of SSB, and those of the baselines."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated

from pydantic import Field

from .. import distill
from . import grpo, rft, sft, ssb_no_wrong

Student = Annotated[distill.Spec | sft.Spec | rft.Spec | ssb_no_wrong.Spec | grpo.Spec, Field(discriminator="method")]

ABLATIONS: dict[str, ModuleType] = {"sft": sft, "rft": rft, "ssb-no-wrong": ssb_no_wrong}
"""Baselines that are SSB with something left out. ``of(ssb)`` of each makes its request from that of SSB."""
