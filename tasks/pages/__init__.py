"""The artifact pages of a run in the Prefect UI, one file for each page. `tasks.storyteller` publishes them."""
