"""The start scenario: how long a person waits for help and version."""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks import measure, ours
from benchmarks.measure import Bench, Job
from benchmarks.row import Amount, Row

NAME = "start"
TIMES = 7
COMMANDS = {
    "--help": ["-m", "mlflow_migration", "--help"],
    "--version": ["-m", "mlflow_migration", "--version"],
    "export-run --help": ["-c", "from mlflow_migration.cli.runs import export_run as run; run(['--help'])"],
    "verify --help": ["-m", "mlflow_migration", "verify", "--help"],
}
BARE = "python"


def rows(bench: Bench) -> Iterator[Row]:
    """The quickest of a few starts of each command; a bare interpreter beside them."""
    yield quickest(bench, Job("nothing", BARE, ["-c", "print()"]))
    for action, words in COMMANDS.items():
        yield quickest(bench, Job(action, ours.NAME, words))


def quickest(bench: Bench, job: Job) -> Row:
    """The row of the start that took least: what else the machine did is no part of it."""
    found = [measure.run(bench, NAME, job, Amount(1)) for _ in range(TIMES)]
    best = min(found, key=lambda row: row.seconds)
    worst = max(found, key=lambda row: row.exit_code)
    return replace(best, exit_code=worst.exit_code, lost=worst.lost)
