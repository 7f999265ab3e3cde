"""A finished run's results for use elsewhere: LoRA adapter, merged weights, curated data set, each with its card."""

from .export import MARKER, Exported, Kind, export

__all__ = (
    "MARKER",
    "Exported",
    "Kind",
    "export",
)
