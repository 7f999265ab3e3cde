"""ssb_core.export."""

from .export import (
    MARK,
    Exported,
    Kind,
    cards,
    dataset,
    export,
    student,
)

__all__ = (
    "MARK",
    "Exported",
    "Kind",
    "cards",
    "dataset",
    "export",
    "student",
)
