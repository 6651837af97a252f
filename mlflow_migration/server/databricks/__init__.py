"""A Databricks workspace as a place: what it does otherwise than an MLflow server."""
