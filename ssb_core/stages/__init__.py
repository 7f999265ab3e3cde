"""ssb_core.stages."""

from ..errors import StoreError
from .spec import (
    BASELINES,
    STAGES,
    Outcome,
    Spec,
    execute,
    finished,
    forget,
    lineage,
    looking_once,
    module,
    required,
    sources,
    upstreams,
)

__all__ = (
    "BASELINES",
    "STAGES",
    "Outcome",
    "Spec",
    "StoreError",
    "execute",
    "finished",
    "forget",
    "lineage",
    "looking_once",
    "module",
    "required",
    "sources",
    "upstreams",
)
