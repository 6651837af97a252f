"""A folder of plain JSON and artifact files that holds MLflow objects. Knows no kinds."""
