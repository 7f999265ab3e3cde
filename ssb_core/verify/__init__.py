"""ssb_core.verify."""

from .verifier import (
    AnswerForm,
    Verifier,
    extract,
    structure,
    unusable,
    versions,
)

__all__ = (
    "AnswerForm",
    "Verifier",
    "extract",
    "structure",
    "unusable",
    "versions",
)
