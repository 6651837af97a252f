"""A local Databricks workspace that the real databricks-sdk and the real MLflow client use unchanged."""
