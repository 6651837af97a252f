"""A Databricks workspace."""
