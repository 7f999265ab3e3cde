"""The Prefect servers that ssb starts, its deployments, and the set-up of a deployed run."""
