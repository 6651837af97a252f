"""Move MLflow objects between servers and backups: nothing lost, nothing twice, provably."""
