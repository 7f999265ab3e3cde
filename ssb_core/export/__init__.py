"""A finished run's results as others use them: LoRA adapter, merged weights, curated data set, each with its card."""

from .export import MARKER, Exported, Kind, export

__all__ = (
    "MARKER",
    "Exported",
    "Kind",
    "export",
)
