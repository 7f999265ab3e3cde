"""ssb_core.verify."""

from .verifier import (
    Verifier,
    extract,
    structure,
    unusable,
    versions,
)

__all__ = (
    "Verifier",
    "extract",
    "structure",
    "unusable",
    "versions",
)
