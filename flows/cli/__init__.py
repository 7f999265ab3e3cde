"""The command line ``ssb``: one file for each group of commands."""
