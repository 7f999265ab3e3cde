"""Overrides of the quickstart that cut it down to some seconds."""

SMALL = (
    "problems.limit=64",
    "target_traces=24",
    "distill.epochs=2",
    "distill.save_steps=4",
    "execution.shard_size=16",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 48}]",
)
