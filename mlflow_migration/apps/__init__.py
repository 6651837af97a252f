"""MLflow as an app: what deploys it and looks after it, and `runtime`, which runs inside it."""
