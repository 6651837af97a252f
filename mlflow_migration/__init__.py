"""Move MLflow objects between servers and backups: nothing lost, nothing twice, provably."""

from mlflow_migration import old_paths

old_paths.install()
