"""The database scenario: SQLite file to SQLite file, beside this tool over REST and beside plain `INSERT … SELECT`.

`python -m benchmarks.databases SOURCE DESTINATION` is the plain statement for every table, in a process of its own; it
prints the seconds it takes.
"""

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import corpus, limit, measure, ours
from benchmarks.measure import Bench, Job
from benchmarks.row import Amount, Row
from demo import servers

NAME = "database"
PLAIN = "INSERT … SELECT"
OVER_REST, DIRECT = f"{ours.NAME}, over REST", f"{ours.NAME}, database"


def rows(bench: Bench, shape: corpus.Shape) -> Iterator[Row]:
    """The same rows three ways: the plain statement, this tool between the files, this tool between two servers."""
    amount = Amount(shape.runs, shape.points)
    source = servers.copy_folder(bench.template, bench.folder / "database source")
    corpus.seed(source, shape)
    expected = corpus.tally(source)
    for job, target in jobs(bench, source):
        row = measure.run(bench, NAME, job, amount)
        yield measure.judged(row, expected, corpus.tally(target))
    there = measure.fresh_destination(bench, "database destination over REST")
    with servers.serving(source, bench.server_workers) as server, there as destination:
        found = ours.copy_job(server, destination, ("all",))
        job = Job(found.action, OVER_REST, found.arguments, found.watched)
        row = measure.run(bench, NAME, job, amount)
        yield measure.judged(row, expected, corpus.tally(destination.folder))


def jobs(bench: Bench, source: Path) -> Iterator[tuple[Job, Path]]:
    """The two ways without a server, each with the folder it writes."""
    target = servers.copy_folder(bench.template, bench.folder / "database destination of the statement")
    words = ["-m", "benchmarks.databases", str(servers.database_of(source)), str(servers.database_of(target))]
    yield Job("copy", PLAIN, words, timed=True), target
    target = servers.copy_folder(bench.template, bench.folder / "database destination")
    found = ours.copy_databases_job(servers.database_of(source), servers.database_of(target))
    yield Job(found.action, DIRECT, found.arguments), target


def copy_all(source: str, destination: str) -> None:
    """Every row of every table, in one transaction."""
    with contextlib.closing(sqlite3.connect(destination)) as database:
        database.execute("ATTACH ? AS source", (source,))
        names = [
            row[0] for row in database.execute("SELECT name FROM source.sqlite_master WHERE type = 'table' ORDER BY 1")
        ]
        with database:
            for name in names:
                # What is in every new database (its version, the default experiment) is there already.
                columns = corpus.columns_of(database, name)
                words = ("INSERT OR IGNORE INTO", f'main."{name}" ({columns})', "SELECT", columns, "FROM")
                database.execute(" ".join((*words, f'source."{name}"')))


if __name__ == "__main__":
    print(json.dumps({"seconds": limit.timed(lambda: copy_all(*sys.argv[1:]))}))
