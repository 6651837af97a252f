"""Bundles that were written once and must be read for good; none is ever made anew, a new format gets its own.

`python -m tests.golden FOLDER` made them, on MLflow 3.17.2: `format-1`, and `format-1-folders` by the version before
there were shards, which gave each trace a folder.
"""
