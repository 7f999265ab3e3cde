"""ssb_core.config."""

from .settings import (
    Benchmark,
    Decoding,
    DistillConfig,
    Example,
    GrpoConfig,
    ModelConfig,
    Objective,
    ProblemsConfig,
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
