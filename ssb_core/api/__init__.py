"""The package as a library: one file for each group of functions. `ssb_core` exports them."""
