"""What SSB is compared with: each a stage of its own, a LoRA student of the same base from the same problems.

`sft`, `rft` and `ssb_no_wrong` are the distill stage with one thing left out, and share rollouts and taught solutions
with it; `grpo` is reinforcement learning with the verifier as reward.
"""

from __future__ import annotations

from types import ModuleType
from typing import Annotated

from pydantic import Field

from .. import distill
from . import grpo, rft, sft, ssb_no_wrong

Student = Annotated[distill.Spec | sft.Spec | rft.Spec | ssb_no_wrong.Spec | grpo.Spec, Field(discriminator="method")]

ABLATIONS: dict[str, ModuleType] = {"sft": sft, "rft": rft, "ssb-no-wrong": ssb_no_wrong}
"""Baselines that are SSB with something left out; ``of`` of each makes its request from SSB's."""
