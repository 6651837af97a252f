"""`python -m benchmarks`: this tool, mlflow-export-import and a bare HTTP client on the same runs, side by side."""
