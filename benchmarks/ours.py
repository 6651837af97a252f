"""This tool, as its user starts it, with its own defaults."""

from pathlib import Path

from benchmarks.measure import Job
from demo.servers import LocalServer

NAME = "mlflow-migration"
# The run's report, in the folder the command runs in.
ENDING = ["--report", "report.json", "--state-dir", "state", "-q"]
EVERY_RUN = ("experiments", "--experiments", "all")
EVERY_MODEL = ("models", "--models", "all")


def export_job(source: LocalServer, bundle: Path, what: tuple[str, ...] = EVERY_RUN) -> Job:
    """Everything of a sort that a server holds, into a new bundle."""
    words = [f"export-{what[0]}", *what[1:], "--output-dir", str(bundle), "--tracking-uri", source.uri]
    return Job("export", NAME, command(*words), (source,))


def import_job(destination: LocalServer, bundle: Path, what: tuple[str, ...] = EVERY_RUN) -> Job:
    """Everything a bundle holds of a sort, into a server."""
    words = [f"import-{what[0]}", "--input-dir", str(bundle), "--tracking-uri", destination.uri]
    return Job("import", NAME, command(*words), (destination,))


def copy_job(source: LocalServer, destination: LocalServer, what: tuple[str, ...] = EVERY_RUN) -> Job:
    """The same from server to server, with nothing staged on disk."""
    ends = ["--src-mlflow-uri", source.uri, "--dst-mlflow-uri", destination.uri]
    return Job("copy", NAME, command(f"copy-{what[0]}", *what[1:], *ends), (source, destination))


def verify_job(source: LocalServer, bundle: Path, what: tuple[str, ...] = EVERY_RUN) -> Job:
    """A server compared with the bundle made from it, value by value."""
    words = ["-m", "mlflow_migration", "verify", source.uri, str(bundle), *what[1:], "--report", "report.json", "-q"]
    return Job("verify", NAME, words, (source,))


def copy_databases_job(source: Path, destination: Path) -> Job:
    """Everything from one SQLite file to another, without a server."""
    ends = ["--src-mlflow-uri", f"sqlite:///{source}", "--dst-mlflow-uri", f"sqlite:///{destination}"]
    return Job("copy", NAME, command("copy-all", *ends))


def command(*words: str) -> list[str]:
    """A command line of the tool, with its report kept and its state out of the user's home."""
    return ["-m", "mlflow_migration", *words, *ENDING]
