"""Servers of older MLflow versions as sources and destinations; part of `make test-all` only."""
