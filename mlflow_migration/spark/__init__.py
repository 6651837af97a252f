"""Exporting on a Spark cluster."""
