"""A live MLflow, over REST."""
