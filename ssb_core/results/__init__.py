"""ssb_core.results."""
