"""The documentation, and what keeps it true: `python -m docs` writes the reference, `--check` tests everything."""
