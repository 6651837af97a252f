"""MLflow's own tables as a place: the only one that keeps ids and the times a server sets."""
