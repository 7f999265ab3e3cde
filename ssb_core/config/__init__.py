"""ssb_core.config."""

from .settings import (
    Benchmark,
    ConfigError,
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
    refuse_missing,
)

__all__ = (
    "Benchmark",
    "ConfigError",
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
    "refuse_missing",
)
