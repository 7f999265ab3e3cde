"""What runs on a Prefect server, and the servers that this package starts."""
