"""The stages of `ssb_core` as Prefect tasks, and what a run shows in the Prefect UI."""
