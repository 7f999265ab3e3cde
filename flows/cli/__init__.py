"""The command line ``ssb``: one file a command."""
