"""The stages of `ssb_core` as Prefect tasks, and the pages of a run in the Prefect UI."""
