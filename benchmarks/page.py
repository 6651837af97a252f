"""What the documentation shows of the kept results: tables and charts, made from `benchmarks/results.json` alone."""

from collections.abc import Iterator, Sequence

from benchmarks import chart, databases, growth, measure, models, ours, peer, results, table, traces
from benchmarks.row import Row
from benchmarks.targets import HISTORIES, RUNS, SMALL, one

NONE_YET = "Nothing measured yet: `make bench`.\n"
OF_REST = (SMALL, RUNS, HISTORIES, traces.NAME, models.NAME)
CANDIDATES = (peer.NAME, measure.LIMIT, ours.NAME)


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of the page, without columns that are empty in every row."""
    shown = [column for column in range(len(head)) if not body or any(row[column] for row in body)]
    lines = [[head[column] for column in shown], ["---"] * len(shown)]
    lines += [[row[column].replace("|", "\\|") for column in shown] for row in body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def target_table() -> str:
    """Every target, what it asks and what was measured."""
    body = table.target_rows(results.all_rows(results.load()))
    return markdown(table.TARGET_HEAD, body) if body else NONE_YET


def row_tables() -> str:
    """The rows of each scenario."""
    parts = []
    for name, measured in results.load().items():
        body = [row[1:] for row in table.rows_of(measured.rows)]
        parts += [f"**{name}** ({measured.when[:10]}; {measured.machine})\n", markdown(table.HEAD[1:], body)]
    return "\n".join(parts) or NONE_YET


def summary() -> str:
    """The README's few lines: the ordinary runs beside the peer and the limit."""
    rows = results.all_rows(results.load())
    head = ("1,000 runs take", *CANDIDATES)
    body = []
    for action in ("export", "import", "verify", "copy"):
        found = [one(rows, RUNS, action, tool) for tool in CANDIDATES]
        cells = [f"{row.seconds_each * 1000:,.0f} s" if row and row.exit_code == 0 else "" for row in found]
        if any(cells):
            body.append([action, *cells])
    return markdown(head, body) if body else NONE_YET


def speed_chart() -> str:
    """How much each candidate moves in a second."""
    return chart.svg(list(speed_panels(results.all_rows(results.load()))))


def speed_panels(rows: Sequence[Row]) -> Iterator[chart.Panel]:
    for scenario in (*OF_REST, databases.NAME):
        found = [row for row in rows if row.scenario == scenario and row.exit_code == 0]
        for action in dict.fromkeys(row.action for row in found if row.action in {"export", "import", "copy"}):
            chosen = [row for row in found if row.action == action]
            # A copy over REST has nobody beside it: it stands beside the import, the slower of its two halves.
            if len(chosen) > 1:
                bars = [bar(row, row.amount.objects / row.seconds, "/s") for row in chosen]
                yield chart.Panel(f"{scenario}: {action}, objects per second (longer is better)", bars)


def growth_chart() -> str:
    """What one object costs at each size: bars of one length are linear growth."""
    return chart.svg(list(growth_panels(results.all_rows(results.load()))))


def growth_panels(rows: Sequence[Row]) -> Iterator[chart.Panel]:
    for scenario in (growth.RUNS, growth.TRACES):
        found = [row for row in rows if row.scenario == scenario and row.exit_code == 0]
        for action in dict.fromkeys(row.action for row in found):
            chosen = [row for row in found if row.action == action]
            bars = [sized(row, row.seconds_each * 1000, "ms") for row in chosen]
            yield chart.Panel(f"{scenario}: {action}, ms for each (equal is linear)", bars)
        if found:
            chosen = [row for row in found if row.action == "import"]
            bars = [sized(row, row.peak_bytes / table.MEGA, "MB") for row in chosen]
            yield chart.Panel(f"{scenario}: import, peak memory (equal is flat)", bars)


def bar(row: Row, value: float, unit: str) -> chart.Bar:
    return chart.Bar(row.tool, value, f"{value:,.1f} {unit}", row.tool.startswith(ours.NAME))


def sized(row: Row, value: float, unit: str) -> chart.Bar:
    return chart.Bar(f"{row.amount.objects:,}", value, f"{value:,.1f} {unit}", own=True)


BLOCKS = {"bench-targets": target_table, "bench-rows": row_tables, "bench-summary": summary}
CHARTS = {"performance-speed.svg": speed_chart, "performance-growth.svg": growth_chart}
"""File beside the page → what draws it."""
