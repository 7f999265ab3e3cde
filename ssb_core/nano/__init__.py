"""The embedded model: its build script, and its weights in ``model/``."""
