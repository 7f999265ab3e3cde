"""Pages of a run in the Prefect UI, one file each."""
