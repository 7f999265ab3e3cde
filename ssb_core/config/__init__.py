"""The configuration of a run: its settings, presets and secrets."""

from .inputs import Benchmark, Example, ModelConfig, ProblemsConfig
from .settings import (
    Decoding,
    DistillConfig,
    GrpoConfig,
    Objective,
    RolloutsConfig,
    RunConfig,
    SelectConfig,
    TeachConfig,
    require_packages,
)

__all__ = (
    "Benchmark",
    "Decoding",
    "DistillConfig",
    "Example",
    "GrpoConfig",
    "ModelConfig",
    "Objective",
    "ProblemsConfig",
    "RolloutsConfig",
    "RunConfig",
    "SelectConfig",
    "TeachConfig",
    "require_packages",
)
