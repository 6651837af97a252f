"""`python -m mlflow_migration COMMAND …`."""

from mlflow_migration.cli.main import main

if __name__ == "__main__":
    main()
