"""The baselines of SSB. Each is a stage that trains a LoRA student of the same base on the same problems.

`sft`, `rft` and `ssb_no_wrong` are the distill stage with one thing left out, and share its rollouts and taught
solutions; `grpo` is reinforcement learning with the verifier as reward.
"""

from .student import ABLATIONS, Student

__all__ = ("ABLATIONS", "Student")
