"""mlflow-export-import 1.2.0, with its own defaults: one thread, one request per run and metric key.

From PyPI it starts only when `tabulate` is installed beside it, which it does not declare.
"""

from pathlib import Path

NAME = "mlflow-export-import"
MODULE = "mlflow_export_import.bulk"


def export_arguments(bundle: Path) -> list[str]:
    """The command line of its export; the server is named by MLFLOW_TRACKING_URI (see `environment`)."""
    return ["-m", f"{MODULE}.export_experiments", "--experiments", "all", "--output-dir", str(bundle)]


def import_arguments(bundle: Path) -> list[str]:
    """The command line of its import."""
    return ["-m", f"{MODULE}.import_experiments", "--input-dir", str(bundle)]


def environment(uri: str) -> dict[str, str]:
    """What it reads the server's address from."""
    return {"MLFLOW_TRACKING_URI": uri}
