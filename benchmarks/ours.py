"""This tool, as its user starts it, with its own defaults."""

import json
from pathlib import Path

from benchmarks import corpus

NAME = "mlflow-migration"
# The run's report, in the folder the command runs in.
REPORT = "report.json"
ENDING = ["--report", REPORT, "--state-dir", "state", "-q"]


def export_arguments(uri: str, bundle: Path) -> list[str]:
    """Everything a server holds, into a new bundle."""
    return command("export-experiments", "--experiments", "all", "--output-dir", str(bundle), "--tracking-uri", uri)


def import_arguments(uri: str, bundle: Path) -> list[str]:
    """Everything a bundle holds, into a server."""
    return command("import-experiments", "--input-dir", str(bundle), "--tracking-uri", uri)


def copy_arguments(source: str, destination: str) -> list[str]:
    """The corpus from server to server, with nothing staged on disk."""
    ends = ["--src-mlflow-uri", source, "--dst-mlflow-uri", destination]
    return command("copy-experiment", "--experiment", corpus.EXPERIMENT, *ends)


def command(*words: str) -> list[str]:
    """A command line of the tool, with its report kept and its state out of the user's home."""
    return ["-m", "mlflow_migration", *words, *ENDING]


def requests_told(folder: Path) -> int | None:
    """How many requests its own report counts at both ends; None without a report."""
    report = folder / REPORT
    if not report.exists():
        return None
    told = json.loads(report.read_text(encoding="utf-8")).get("requests") or {}
    return sum(int(count or 0) for count in told.values())
