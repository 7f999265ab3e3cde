"""The Prefect servers that ssb starts, what it deploys to a server, and what a deployed run needs."""
