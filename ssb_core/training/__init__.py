"""ssb_core.training."""
