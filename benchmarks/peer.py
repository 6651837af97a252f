"""mlflow-export-import 1.2.0, with its own defaults: one thread, one request per run and metric key.

1.2.0 is the newest release on PyPI; it starts only when `tabulate` is installed beside it, which it does not declare.
It has no command for traces, none that copies many runs, and none that verifies.
"""

from pathlib import Path

from benchmarks.measure import PEER, Job
from demo.servers import LocalServer

NAME = PEER
MODULE = "mlflow_export_import.bulk"


def export_job(source: LocalServer, bundle: Path, what: str = "experiments") -> Job:
    """The export of all experiments, or models."""
    words = ["-m", f"{MODULE}.export_{what}", f"--{what}", "all", "--output-dir", str(bundle)]
    return Job("export", NAME, words, (source,), environment(source.uri))


def import_job(destination: LocalServer, bundle: Path, what: str = "experiments") -> Job:
    """The import of all that is in the folder."""
    words = ["-m", f"{MODULE}.import_{what}", "--input-dir", str(bundle)]
    return Job("import", NAME, words, (destination,), environment(destination.uri))


def environment(uri: str) -> dict[str, str]:
    """What it reads the server's address from."""
    return {"MLFLOW_TRACKING_URI": uri}
