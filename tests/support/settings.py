"""Overrides of the quickstart that cut it down to some seconds."""

SMALL = (
    "problems.limit=64",
    "target_traces=24",
    "distill.epochs=2",
    "distill.save_steps=4",
    "execution.shard_size=16",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 48}]",
)
"""For a run of some seconds."""

FAST = (
    "problems.limit=24",
    "target_traces=6",
    "distill.epochs=2",
    "distill.save_steps=1",
    "execution.shard_size=6",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 12}]",
)
"""For a run that is done again and again."""
