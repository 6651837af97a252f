"""What the measured rows have to show, and whether they do: ratios of one run on one machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import databases, growth, measure, memory, models, ours, peer, start, traces
from benchmarks.row import Row

SMALL, RUNS, HISTORIES = "small", "runs", "histories"
OF_PEER = {"export": 40.0, "import": 15.0}
OF_LIMIT = 1.25
COPY_OF_SLOWER = VERIFY_OF_EXPORT = 1.1
OF_REST_COPY, OF_STATEMENT = 20.0, 2.0
START_SECONDS = 0.25
GROWTH, GROWTH_OF_MEMORY = 1.15, 1.25
"""Of what the size before takes for each object, and of what it holds in memory."""


@dataclass(frozen=True)
class Target:
    """One claim: `measured` must be at least, or at most, `wanted`; `unit` is what stands behind both numbers."""

    what: str
    measured: float
    wanted: float
    at_least: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def bound(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.wanted:g} {self.unit}"

    @property
    def found(self) -> str:
        return f"{self.measured:.2f} {self.unit}"

    @property
    def verdict(self) -> str:
        return "met" if self.met else "not met"


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Every claim for which something was measured to its end."""
    ended = [row for row in rows if row.exit_code == 0]
    for scenario in (SMALL, RUNS, HISTORIES, traces.NAME, models.NAME):
        yield from of_scenario(ended, scenario)
    yield from of_databases(ended)
    for row in ended:
        if row.scenario == start.NAME and row.tool == ours.NAME:
            yield Target(f"start of {row.action}", row.seconds, START_SECONDS, unit="s")
    for scenario in (growth.RUNS, growth.TRACES):
        yield from of_growth([row for row in ended if row.scenario == scenario])
    for row in ended:
        if row.scenario == memory.NAME:
            what = f"memory for the {row.action} of a run of {row.amount.points:,} points and a large file"
            yield Target(what, row.peak_bytes / 1e6, memory.PEAK_LIMIT / 1e6, unit="MB")


def of_scenario(rows: Sequence[Row], scenario: str) -> Iterator[Target]:
    """Of one scenario over REST: beside the peer, beside the limit, and its own actions beside each other."""
    for action, wanted in OF_PEER.items():
        own, other = one(rows, scenario, action, ours.NAME), one(rows, scenario, action, peer.NAME)
        if own and other and scenario != models.NAME:
            what = f"{scenario}: {action}, times as fast as {peer.NAME}"
            yield Target(what, other.seconds_each / own.seconds_each, wanted, at_least=True)
    for action in OF_PEER:
        own, limit = one(rows, scenario, action, ours.NAME), one(rows, scenario, action, measure.LIMIT)
        if own and limit:
            yield Target(f"{scenario}: {action}, of the limit's time", own.seconds_each / limit.seconds_each, OF_LIMIT)
    export, import_ = (one(rows, scenario, action, ours.NAME) for action in OF_PEER)
    copy, verify = (one(rows, scenario, action, ours.NAME) for action in ("copy", "verify"))
    if export and import_ and copy:
        slower = max(export.seconds, import_.seconds)
        what = f"{scenario}: copy, of the time of the slower of export and import"
        yield Target(what, copy.seconds / slower, COPY_OF_SLOWER)
    if export and verify:
        what = f"{scenario}: verify of server and bundle, of the export's time"
        yield Target(what, verify.seconds / export.seconds, VERIFY_OF_EXPORT)


def of_databases(rows: Sequence[Row]) -> Iterator[Target]:
    """Of database to database."""
    own = next((row for row in rows if row.scenario == databases.NAME and row.tool == databases.DIRECT), None)
    rest = one(rows, databases.NAME, "copy", databases.OVER_REST)
    plain = one(rows, databases.NAME, "copy", databases.PLAIN)
    if own and rest:
        what = "database to database, times as fast as the same copy over REST"
        yield Target(what, rest.seconds / own.seconds, OF_REST_COPY, at_least=True)
    if own and plain:
        what = f"database to database, of the time of a plain {databases.PLAIN}"
        yield Target(what, own.seconds / plain.seconds, OF_STATEMENT)


def of_growth(rows: Sequence[Row]) -> Iterator[Target]:
    """Of the largest size beside the one before."""
    for action in dict.fromkeys(row.action for row in rows):
        sizes = sorted((row for row in rows if row.action == action), key=lambda row: row.amount.objects)
        if len(sizes) > 1:
            before, last = sizes[-2:]
            words = f"{last.scenario}: {action} of {last.amount.objects:,}, beside {before.amount.objects:,}"
            yield Target(f"{words}: time for each", last.seconds_each / before.seconds_each, GROWTH)
            yield Target(f"{words}: memory", last.peak_bytes / before.peak_bytes, GROWTH_OF_MEMORY)


def one(rows: Sequence[Row], scenario: str, action: str, tool: str) -> Row | None:
    """The row of that scenario, action and tool, if it was measured."""
    return next((row for row in rows if (row.scenario, row.action, row.tool) == (scenario, action, tool)), None)


def against(rows: Sequence[Row], row: Row, tool: str) -> float | None:
    """How many times as long for each object as `tool` takes for the same action."""
    other = one(rows, row.scenario, row.action, tool)
    ended = other is not None and row.exit_code == other.exit_code == 0
    return row.seconds_each / other.seconds_each if ended and other else None
