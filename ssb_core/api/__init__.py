"""The package as a library: one file for each thing that a program asks of it. `ssb_core` exports them."""
