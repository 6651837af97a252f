"""`python -m demo`: two local MLflow servers, one migration between them, and the proof that nothing was lost."""
