"""Objects that a bundle keeps many to a file: each whole or not there, whatever ends the job."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlflow_migration.bundle.reader import Bundle
from mlflow_migration.bundle.writer import BundleWriter
from mlflow_migration.errors import BundleError
from mlflow_migration.objects import KINDS
from mlflow_migration.pipeline import BundleSource
from mlflow_migration.places import Selection
from mlflow_migration.records import File, Record
from tests import traces

Json = dict[str, Any]
ALL = Selection()
FOLDER = "experiments/7/traces"
FIRST = f"{FOLDER}/traces-00001.jsonl"
LARGE = 5_000_000
"""More characters than a line takes."""


def trace(number: int, text: str = "", files: tuple[tuple[str, bytes], ...] = (), spans: int = 2) -> Record:
    """A trace of experiment 7; `text` is in one of its tags and in each span."""
    id_ = f"tr-{number:032x}"
    rows = [
        {"trace_id": traces.b64_of(f"{number:032x}"), "span_id": traces.b64(index + 1), "name": f"é {index} {text}"}
        for index in range(spans)
    ]
    head = {
        "trace_id": id_,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "7"}},
        "request_time": "2024-02-03T04:05:06.789Z",
        "state": "OK",
        "tags": {"text": text[:100], "a": "\u2028"},
    }
    found = [File(path, len(data), partial(_open, data)) for path, data in files]
    home = ("experiments", "7", "traces", id_)
    return Record(
        "trace", id_, "näme", home, head, {"experiment": "7"}, {"spans": lambda: iter(rows)}, lambda: iter(found)
    )


def _open(data: bytes) -> closing[io.BytesIO]:
    return closing(io.BytesIO(data))


def export(root: Path, records: list[Record], finish: bool = True, workers: int = 4) -> list[str]:
    """Write a bundle with several workers; the state each object ended in."""
    writer = BundleWriter(root, "http://source", {})
    with ThreadPoolExecutor(workers) as pool:
        states = [written.state for written in pool.map(lambda record: writer.put(record, sharded=True), records)]
    if finish:
        writer.finish({}, [])
    return states


def read(root: Path) -> dict[str, Json]:
    """Every trace of a proven bundle: head, spans, artifacts."""
    source = BundleSource(Bundle(root, tuple(KINDS)))
    found = {record.id: content(record) for record in source.bundle.records("trace", ALL)}
    assert source.counts["trace"] == len(found)
    for id_, value in found.items():
        again = source.record("trace", id_, ALL)
        assert again is not None
        assert content(again) == value
    assert source.record("trace", "tr-unknown", ALL) is None
    return found


def content(record: Record) -> Json:
    rows = {name: list(stream()) for name, stream in record.rows.items()}
    files = {}
    for file in record.files():
        assert file.open is not None
        with file.open() as reader:
            files[file.path] = reader.read()
    return {"head": record.head, "name": record.name, "home": record.home, "rows": rows, "files": files}


def contents(records: list[Record]) -> dict[str, Json]:
    return {record.id: content(record) for record in records}


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a folder: when it was written, and its bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def ids(root: Path) -> list[str]:
    """The ids of the lines of all shards."""
    lines = [line for path in sorted((root / FOLDER).glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return [json.loads(line)["info"]["id"] for line in lines]


def test_a_thousand_objects_fill_a_file_and_read_back_equal(tmp_path: Path) -> None:
    records = [trace(number) for number in range(1005)]
    assert set(export(tmp_path, records)) == {"done"}
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["traces-00001.jsonl", "traces-00002.jsonl"]
    assert read(tmp_path) == contents(records)
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=False)
    assert checked.returncode == 0


def test_an_export_of_what_is_there_changes_no_file(tmp_path: Path) -> None:
    records = [trace(number, files=(("a/b.bin", b"x"),)) for number in range(20)]
    export(tmp_path, records)
    before = tree(tmp_path)
    assert set(export(tmp_path, records[::-1])) == {"same"}
    assert tree(tmp_path) == before


def test_of_an_object_that_has_changed_the_new_state_is_kept_and_nothing_else_is_written(tmp_path: Path) -> None:
    records = [trace(number, files=(("a.bin", b"x"), ("b.bin", b"y"))) for number in range(30)]
    export(tmp_path, records)
    untouched = [path for path in tree(tmp_path) if "artifacts" in path and f"{4:032x}" not in path]
    before = {path: tree(tmp_path)[path] for path in untouched}
    records[4] = trace(4, "now", files=(("b.bin", b"longer"), ("c é.bin", b"z")))
    records[9] = trace(9, "now")
    states = export(tmp_path, records)
    assert (states[4], states[9], states.count("same")) == ("updated", "updated", 28)
    assert len(ids(tmp_path)) == 30
    assert read(tmp_path) == contents(records)
    after = tree(tmp_path)
    assert {path: after[path] for path in untouched if f"{9:032x}" not in path} == {
        path: entry for path, entry in before.items() if f"{9:032x}" not in path
    }
    assert not [path for path in after if "a.bin" in path and f"{4:032x}" in path]


def test_a_further_object_goes_behind_the_others(tmp_path: Path) -> None:
    export(tmp_path, [trace(1), trace(2)])
    first = (tmp_path / FIRST).read_bytes()
    export(tmp_path, [trace(3)])
    assert (tmp_path / FIRST).read_bytes().startswith(first)
    assert set(read(tmp_path)) == {trace(number).id for number in (1, 2, 3)}


@pytest.mark.parametrize("lost", [1, 7, 300])
def test_a_line_that_a_crash_has_cut_is_written_again(tmp_path: Path, lost: int) -> None:
    records = [trace(number) for number in range(5)]
    export(tmp_path, records[:3], finish=False)
    with (tmp_path / FIRST).open("r+b") as file:
        file.truncate((tmp_path / FIRST).stat().st_size - lost)
    states = export(tmp_path, records)
    assert sorted(states[:3]) == ["done", "same", "same"]
    assert read(tmp_path) == contents(records)


def test_half_a_line_goes_though_nothing_is_written_any_more(tmp_path: Path) -> None:
    export(tmp_path, [trace(1)], finish=False)
    with (tmp_path / FIRST).open("ab") as file:
        file.write(b'{"info":{"id":"half')
    assert export(tmp_path, [trace(1)]) == ["same"]
    assert read(tmp_path) == contents([trace(1)])


def test_a_crash_while_artifacts_change_leaves_no_mixture(tmp_path: Path) -> None:
    def broken() -> Any:
        raise OSError(5, "the disk is gone")

    export(tmp_path, [trace(1, files=(("a", b"old"), ("b", b"old")))])
    changed = trace(1, files=(("a", b"newer"), ("b", b"newer")))
    halted = [next(changed.files()), File("b", 5, broken)]
    with pytest.raises(Exception, match="the disk is gone"):
        export(tmp_path, [Record(**{**vars(changed), "files": lambda: iter(halted)})], finish=False)
    # What can't be read leaves the object as it was.
    assert export(tmp_path, [changed]) == ["updated"]
    assert read(tmp_path) == contents([changed])


def test_a_large_object_has_a_folder_and_comes_back_when_it_is_small_again(tmp_path: Path) -> None:
    for text, files in (("", (("a", b"1"),)), ("x" * LARGE, (("a", b"2"),)), ("small", (("a", b"22"),))):
        records = [trace(1, text, files), trace(2)]
        states = export(tmp_path, records)
        assert states[1] == "same" or text == ""
        assert export(tmp_path, records) == ["same", "same"]
        assert (tmp_path / FOLDER / records[0].id / "trace.json").is_file() == (len(text) > 100)
        assert len(ids(tmp_path)) == (1 if len(text) > 100 else 2)
        assert read(tmp_path) == contents(records)


def test_a_bundle_with_a_folder_for_each_object_reads_and_is_left_as_it_is(tmp_path: Path) -> None:
    records = [trace(number, files=(("a", b"1"),)) for number in range(3)]
    writer = BundleWriter(tmp_path, "http://source", {})
    for record in records:
        writer.put(record)
    writer.finish({}, [])
    before = tree(tmp_path)
    assert read(tmp_path) == contents(records)
    assert export(tmp_path, records) == ["same"] * 3
    assert tree(tmp_path) == before
    records[1] = trace(1, "changed")
    assert export(tmp_path, records) == ["same", "updated", "same"]
    assert read(tmp_path) == contents(records)


def test_a_span_may_be_nested_as_deep_as_protobuf_lets_it(tmp_path: Path) -> None:
    value: Json = {"string_value": "deep"}
    for _ in range(33):
        value = {"kvlist_value": {"values": [{"key": "k", "value": value}]}}
    row = {**next(trace(1).rows["spans"]()), "attributes": [{"key": "a", "value": value}]}
    record = Record(**{**vars(trace(1)), "rows": {"spans": lambda: iter([row])}})
    export(tmp_path, [record])
    assert read(tmp_path) == contents([record])


def test_a_rehearsal_writes_nothing(tmp_path: Path) -> None:
    export(tmp_path, [trace(1)])
    before = tree(tmp_path)
    writer = BundleWriter(tmp_path, "http://source", {})
    assert [writer.put(trace(n, "x"), dry_run=True, sharded=True).state for n in (1, 2)] == ["updated", "done"]
    assert tree(tmp_path) == before


def _write_until_killed(root: Path) -> None:
    """What the child of the next test does: the same objects again and again, with other content each time."""
    for turn in range(1000):
        export(root, [trace(number, f"turn {turn} " + "x" * 20_000, (("a", b"%d" % turn),)) for number in range(8)])


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.4, 0.8])
def test_a_killed_export_leaves_nothing_half_and_is_finished_by_another(tmp_path: Path, seconds: float) -> None:
    root = tmp_path / "bundle"
    words = "from tests.unit.test_shards import _write_until_killed as w; from pathlib import Path; import sys; "
    child = subprocess.Popen([sys.executable, "-c", words + "w(Path(sys.argv[1]))", str(root)])
    while not (root / FIRST).exists():
        time.sleep(0.01)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    records = [trace(number, "last", (("a", b"last"),)) for number in range(8)]
    assert set(export(root, records)) <= {"done", "updated"}
    assert read(root) == contents(records)
    assert len(ids(root)) == 8


def seal(root: Path) -> None:
    """Make the checksums anew, as a hostile author does."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.name not in {"manifest.json", "SHA256SUMS"})
    names = sorted((path.relative_to(root).as_posix(), path) for path in paths)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in names).encode()
    (root / "SHA256SUMS").write_bytes(sums)
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["info"]["sha256sums"] = hashlib.sha256(sums).hexdigest()
    (root / "manifest.json").write_text(json.dumps(manifest))


def edited(edit: Callable[[Json], object]) -> Callable[[bytes], bytes]:
    """Change the second line as JSON."""

    def forge(data: bytes) -> bytes:
        lines = data.splitlines()
        value = json.loads(lines[1])
        edit(value)
        lines[1] = json.dumps(value).encode()
        return b"\n".join(lines) + b"\n"

    return forge


def entry(**fields: object) -> Callable[[bytes], bytes]:
    return edited(lambda value: value["info"]["files"][0].update(fields))


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "no JSON": lambda data: data + b"{half\n",
    "a list": lambda data: data + b"[]\n",
    "an empty line": lambda data: data + b"\n",
    "a line without its end": lambda data: data[:-1],
    "a line of 20 MB": lambda data: data + b'{"info": "' + b"x" * 20_000_000 + b'"}\n',
    "deep nesting": lambda data: data + b'{"info": ' + b"[" * 10_000 + b"]" * 10_000 + b"}\n",
    "a head that is nested deep": edited(lambda value: value["mlflow"].update(a=json.loads("[" * 70 + "]" * 70))),
    "a line that says one is gone": lambda data: data + b'{"gone": ["trace", "tr-1"]}\n',
    "the same object twice": lambda data: data + data.splitlines()[0] + b"\n",
    "an unknown kind": edited(lambda value: value["info"].update(kind="evil")),
    "a kind that is no text": edited(lambda value: value["info"].update(kind=["trace"])),
    "another kind than it says": edited(lambda value: value["info"].update(kind="run")),
    "another experiment": edited(
        lambda value: value["mlflow"]["trace_location"]["mlflow_experiment"].update(experiment_id="8")
    ),
    "an id that is a path": edited(lambda value: value["mlflow"].update(trace_id="../../evil")),
    "an id it isn't": edited(lambda value: value["info"].update(id="tr-other")),
    "no rows": edited(lambda value: value.pop("rows")),
    "rows that are no list": edited(lambda value: value["rows"].update(spans={"a": 1})),
    "a row that is no object": edited(lambda value: value["rows"].update(spans=[1])),
    "rows of another name": edited(lambda value: value["rows"].update(other=[{}])),
    "a span id that is no base64": edited(lambda value: value["rows"]["spans"][0].update(span_id="abcde")),
    "a file that climbs out": entry(file="../../../../secret"),
    "an absolute file": entry(file="/etc/passwd"),
    "a file of another object": entry(file=f"artifacts/tr-{0:032x}/a"),
    "a file that is not there": entry(path="b", file=f"artifacts/tr-{1:032x}/b"),
    "a path that climbs out": entry(path="../a"),
    "a file that claims to be rows": entry(rows="spans"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_line_is_refused(tmp_path: Path, name: str) -> None:
    export(tmp_path, [trace(number, files=(("a", b"1"),)) for number in range(3)], workers=1)
    shard = tmp_path / FIRST
    shard.write_bytes(FORGED[name](shard.read_bytes()))
    seal(tmp_path)
    with pytest.raises(BundleError, match=r"traces-00001\.jsonl") as refused:
        BundleSource(Bundle(tmp_path, tuple(KINDS)))
    assert len(str(refused.value)) < 1000


def test_the_forger_of_these_tests_makes_right_checksums(tmp_path: Path) -> None:
    export(tmp_path, [trace(1)])
    seal(tmp_path)
    assert read(tmp_path) == contents([trace(1)])


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data.replace(b"OK", b"KO"), lambda data: b""])
def test_a_changed_shard_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    export(tmp_path, [trace(1)])
    (tmp_path / FIRST).write_bytes(change((tmp_path / FIRST).read_bytes()))
    with pytest.raises(BundleError, match=r"traces-00001\.jsonl"):
        BundleSource(Bundle(tmp_path, tuple(KINDS)))


def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path) -> None:
    words = "from tests.unit.test_shards import export, trace; from pathlib import Path; import sys; "
    words += "export(Path(sys.argv[1]), [trace(n, 'x' * 3000) for n in range(50)])"
    command = ["prlimit", "--fsize=100000", sys.executable, "-c", words, str(tmp_path / "bundle")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StorageError: the disk is full" in ended.stderr
    shard = (tmp_path / "bundle" / FIRST).read_bytes()
    assert shard.endswith(b"}}\n")
    assert 0 < len(shard) <= 100_000
    records = [trace(number, "x" * 3000) for number in range(50)]
    assert set(export(tmp_path / "bundle", records)) == {"done", "same"}
    assert read(tmp_path / "bundle") == contents(records)


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    def many() -> Iterator[Record]:
        return (trace(number, "y" * 300_000, spans=4) for number in range(60))

    tracemalloc.start()
    writer = BundleWriter(tmp_path, "http://source", {})
    for record in many():
        writer.put(record, sharded=True)
    writer.finish({}, [])
    source = BundleSource(Bundle(tmp_path, tuple(KINDS)))
    assert sum(len(list(record.rows["spans"]())) for record in source.bundle.records("trace", ALL)) == 240
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25_000_000, "72 MB are in the bundle"
