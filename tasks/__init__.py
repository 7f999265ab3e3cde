"""Prefect tasks: one file per stage, each a thin shell around `ssb_core.stages`."""
