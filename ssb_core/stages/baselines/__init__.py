"""What SSB is compared with: each baseline is a stage, and a LoRA student of the same base from the same problems.

`sft`, `rft` and `ssb_no_wrong` are the distill stage with one thing left out, and share its rollouts and taught
solutions; `grpo` is reinforcement learning with the verifier as reward.
"""

from .student import ABLATIONS, Student

__all__ = ("ABLATIONS", "Student")
