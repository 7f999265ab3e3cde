"""The five stages and the baselines, and the frame that they share.

A stage is a `Spec` (frozen, JSON) and a function ``run(spec, store, runtime)``. A sharded stage (`shards`) maps each
input to one shard. It keeps the shards that are whole and made from the same upstream bytes, makes the rest, and writes
the manifest last.
"""

from .execute import Outcome, delete, finished, required, sources
from .runtime import Input, Runtime, ShardMaker, ShardPlan, make_here
from .spec import STAGES, Spec, lineage, stage_module, upstreams

__all__ = (
    "STAGES",
    "Input",
    "Outcome",
    "Runtime",
    "ShardMaker",
    "ShardPlan",
    "Spec",
    "delete",
    "finished",
    "lineage",
    "make_here",
    "required",
    "sources",
    "stage_module",
    "upstreams",
)
