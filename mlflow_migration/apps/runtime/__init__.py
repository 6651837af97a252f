"""What runs inside the App, or on a laptop: an MLflow server, looked after. Imports nothing else of the package."""
