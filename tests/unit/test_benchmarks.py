"""What the benchmarks make of what they measure: ratios, targets, the page. Nothing is measured here."""

import dataclasses
import sqlite3
from pathlib import Path
from xml.parsers import expat

from benchmarks import chart, corpus, growth, measure, models, ours, peer, results, start, table, traces
from benchmarks.row import Amount, Row
from benchmarks.targets import RUNS, targets


def row(action: str, tool: str, seconds: float, objects: int = 100) -> Row:
    return Row(RUNS, action, tool, Amount(objects, 10 * objects, 1000 * objects), seconds, requests=2 * objects)


ROWS = [
    row("export", peer.NAME, 20.0, 10),
    row("export", measure.LIMIT, 4.0),
    row("export", ours.NAME, 4.5),
    row("import", measure.LIMIT, 10.0),
    row("import", ours.NAME, 13.0),
    row("verify", ours.NAME, 4.6),
    row("copy", ours.NAME, 14.0),
    Row(start.NAME, "--help", ours.NAME, Amount(1), 0.3),
]


def test_targets_are_ratios_for_each_object_and_say_what_was_missed() -> None:
    assert {each.what: (round(each.measured, 3), each.met) for each in targets(ROWS)} == {
        "runs: export, times as fast as mlflow-export-import": (44.444, True),
        "runs: export, of the limit's time": (1.125, True),
        "runs: import, of the limit's time": (1.3, False),
        "runs: copy, of the time of the slower of export and import": (1.077, True),
        "runs: verify of server and bundle, of the export's time": (1.022, True),
        "start of --help": (0.3, False),
    }


def test_what_did_not_end_well_meets_no_target() -> None:
    broken = [dataclasses.replace(each, exit_code=1, lost="exit code 1") for each in ROWS if each.tool == ours.NAME]
    assert list(targets([*broken, row("export", measure.LIMIT, 4.0)])) == []


def test_growth_compares_the_two_largest_sizes() -> None:
    sizes = [(1000, 11.0, 150), (10_000, 100.0, 165), (100, 2.0, 140)]
    rows = [Row(growth.RUNS, "import", ours.NAME, Amount(n), s, peak_bytes=m * 10**6) for n, s, m in sizes]
    assert [(round(each.measured, 2), each.met) for each in targets(rows)] == [(0.91, True), (1.1, True)]


def test_rows_are_kept_by_scenario_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.keep(ROWS, path)
    again = [row("export", ours.NAME, 1.0)]
    results.keep(again, path)
    kept = results.load(path)
    assert kept[RUNS].rows == tuple(again)
    assert kept[start.NAME].rows == tuple(ROWS[-1:])


def test_the_table_names_what_was_lost() -> None:
    lost = measure.judged(row("import", ours.NAME, 1.0), {"runs": 3, "points": 9}, {"runs": 3, "points": 8})
    assert table.rows_of([lost])[0][-1] == "points 8 of 9"


def test_a_chart_is_well_formed_and_escapes_what_it_shows() -> None:
    bars = [chart.Bar("a < b & c", 2.0, "2 /s", True), chart.Bar("none", 0.0, "0 /s", False)]
    text = chart.svg([chart.Panel("one", bars), chart.Panel("empty", [])])
    shown: list[str] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.CharacterDataHandler = shown.append
    parser.Parse(text, True)
    assert "a < b & c" in "".join(shown)
    assert text == chart.svg([chart.Panel("one", bars), chart.Panel("empty", [])])


def test_a_trace_is_multiplied_under_ids_of_its_own(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        for name in traces.TABLES:
            database.execute(f'CREATE TABLE "{name}" (request_id TEXT, content TEXT, size INTEGER)')
            values = ("tr-" + "0" * 31 + "1", '{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ=="}', 7)
            corpus.insert(database, name, "request_id, content, size", [values])
    traces.seed(tmp_path, traces.Shape(traces=3))
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        for query in traces.TABLES.values():
            assert database.execute(query).fetchall() == [
                (f"tr-{number:032x}", f'{{"trace_id": "AAAAAAAAAAAAAAAAAAAAA{end}=="}}', 7)
                for number, end in ((1, "Q"), (2, "g"), (3, "w"))
            ]


def test_every_version_of_a_model_is_made_of_one_of_the_runs() -> None:
    runs = {corpus.run_id(index) for index in range(models.RUNS.runs)}
    assert {str(models.version_row("model", version)[7]) for version in range(1, 31)} == runs
