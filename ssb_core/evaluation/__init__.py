"""ssb_core.evaluation."""
