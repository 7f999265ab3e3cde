"""`TrainingJob`: everything that a training process has to know, as one JSON object."""

from __future__ import annotations

from ..config import DistillConfig, GrpoConfig
from ..config.execution import Execution
from ..config.frozen import Frozen
from ..models import ResolvedModel


class TrainingJob(Frozen):
    """The training of a LoRA student of `model`. Its processes, here and on other machines, all get this object.

    Its data is written into a work directory beforehand. `label` is its name in progress and logs.
    """

    label: str
    model: ResolvedModel
    settings: DistillConfig | GrpoConfig
    lora_rank: int
    lora_alpha: int
    execution: Execution
