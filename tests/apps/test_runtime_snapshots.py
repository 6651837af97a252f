"""Snapshots, generations and the lease, without a server: real SQLite, a folder, small disks."""

import contextlib
import dataclasses
import gzip
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from mlflow_migration.apps.runtime import generations, lease, settings, snapshots
from mlflow_migration.apps.runtime.keeper import Began, Keeper
from mlflow_migration.apps.runtime.snapshots import NoGoodSnapshotError, Stamp
from mlflow_migration.apps.runtime.status import Status
from mlflow_migration.apps.runtime.storage import Folder, StorageError
from tests.apps.runtime import FIRST, put_snapshot
from tests.faults.test_disk import small_disk

NEWER = "20260102T000000.000Z-00000000"
NEWEST = "20260103T000000.000Z-00000000"


def said(_: str) -> None:
    """Listens."""


def marked(template: Path, target: Path, word: str) -> Path:
    """A copy of the template whose default experiment is called `word`."""
    shutil.copy(template, target)
    with contextlib.closing(sqlite3.connect(target)) as base, base:
        base.execute("INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (7, ?, 'active')", (word,))
    return target


def mark_of(database: Path) -> str:
    with contextlib.closing(sqlite3.connect(database)) as base:
        return str(base.execute("SELECT name FROM experiments WHERE experiment_id = 7").fetchone()[0])


@pytest.fixture
def volume(tmp_path: Path, template: Path) -> Path:
    """Two snapshots, called old and new; the new one counts."""
    volume = tmp_path / "volume"
    put_snapshot(volume, marked(template, tmp_path / "old.db", "old"))
    put_snapshot(volume, marked(template, tmp_path / "new.db", "new"), NEWER)
    return volume


def restored(volume: Path, tmp_path: Path, start_empty: bool = False) -> tuple[snapshots.Restored, Path]:
    database = tmp_path / "state" / "mlflow.db"
    return snapshots.restore(Folder(volume), database, start_empty, said), database


def test_the_newest_snapshot_is_restored(volume: Path, tmp_path: Path) -> None:
    done, database = restored(volume, tmp_path)
    assert (mark_of(database), done.passed_over) == ("new", ())


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "manifest", "no manifest", "not a database"])
def test_an_older_snapshot_is_restored_where_the_newest_is_broken(volume: Path, tmp_path: Path, damage: str) -> None:
    packed, about = volume / "snapshots" / f"{NEWER}.db.gz", volume / "snapshots" / f"{NEWER}.json"
    content = packed.read_bytes()
    if damage == "cut":
        packed.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        packed.write_bytes(content[:5000] + bytes([content[5000] ^ 255]) + content[5001:])
    elif damage == "gone":
        packed.unlink()
    elif damage == "manifest":
        about.write_text('{"format": 1, "generation"')
    elif damage == "no manifest":
        about.unlink()
    else:
        # A whole file with the right digest, whose pages aren't: what copying a live database makes.
        raw = bytearray(gzip.decompress(content))
        raw[4096 * 20 : 4096 * 24] = b"\xff" * 4096 * 4
        packed.write_bytes(torn := gzip.compress(bytes(raw)))
        told = json.loads(about.read_text()) | {"sha256": hashlib.sha256(torn).hexdigest(), "size": len(torn)}
        about.write_text(json.dumps(told))
    done, database = restored(volume, tmp_path)
    assert mark_of(database) == "old"
    assert len(done.passed_over) == 1
    assert NEWER in done.passed_over[0]


def test_a_snapshot_that_was_pointed_to_on_purpose_is_restored_though_newer_ones_are_there(
    volume: Path, tmp_path: Path, template: Path
) -> None:
    put_snapshot(volume, marked(template, tmp_path / "newest.db", "newest"), NEWEST, point=False)
    done, database = restored(volume, tmp_path)
    assert (mark_of(database), done.passed_over) == ("new", ())


def test_a_broken_pointer_is_told_and_the_newest_name_counts(volume: Path, tmp_path: Path) -> None:
    (volume / "latest.json").write_text("{")
    done, database = restored(volume, tmp_path)
    assert mark_of(database) == "new"
    assert "latest.json" in done.passed_over[0]


def test_an_empty_storage_is_no_fault(tmp_path: Path) -> None:
    done, database = restored(tmp_path / "nothing", tmp_path)
    assert done == snapshots.Restored(None, ())
    assert not database.exists()


def test_nothing_begins_empty_where_snapshots_are_and_none_is_good(volume: Path, tmp_path: Path) -> None:
    for file in (volume / "snapshots").glob("*.db.gz"):
        file.write_bytes(b"")
    with pytest.raises(NoGoodSnapshotError, match="START_EMPTY"):
        restored(volume, tmp_path)
    done, _ = restored(volume, tmp_path, start_empty=True)
    assert (done.manifest, len(done.passed_over)) == (None, 2)


def test_databases_without_any_manifest_are_no_empty_storage(volume: Path, tmp_path: Path) -> None:
    for file in (volume / "snapshots").glob("*.json"):
        file.unlink()
    (volume / "latest.json").unlink()
    with pytest.raises(NoGoodSnapshotError, match="manifest is missing"):
        restored(volume, tmp_path)


def test_what_is_stored_is_what_a_snapshot_written_by_hand_is(volume: Path, tmp_path: Path, template: Path) -> None:
    storage = Folder(volume)
    made = snapshots.store(storage, marked(template, tmp_path / "own.db", "own"), Stamp("1a2b", "trial"), True)
    by_hand = json.loads((volume / "snapshots" / f"{NEWER}.json").read_text())
    own = json.loads((volume / "snapshots" / f"{made.generation}.json").read_text())
    assert own.keys() == by_hand.keys()
    assert own["revision"] == by_hand["revision"]
    generations.point(storage, made.generation)
    _, database = restored(volume, tmp_path)
    assert mark_of(database) == "own"


def test_a_name_sorts_behind_the_last_one_though_the_clock_was_set_back() -> None:
    early = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert generations.name("b", after=NEWEST, now=early) == "20260103T000000.001Z-b"
    assert generations.name("b", now=early) == "20260101T000000.000Z-b"


def test_the_newest_and_the_last_of_each_day_stay() -> None:
    names = [f"202601{day:02d}T{hour:02d}0000.000Z-a" for day in range(1, 11) for hour in (1, 23)]
    gone = generations.superfluous(names, newest=3, days=4, kept=[names[0]])
    assert [name[:11] for name in names if name not in gone] == [
        *("20260101T01", "20260107T23", "20260108T23", "20260109T23", "20260110T01", "20260110T23")
    ]


@pytest.mark.slow
def test_what_an_app_ended_with_before_another_content_took_its_place_stays_for_days() -> None:
    before = [f"20260101T01{minute:02d}00.000Z-old" for minute in range(50)]
    after = [f"20260101T02{minute:02d}00.000Z-new" for minute in range(50)]
    gone = generations.superfluous([*before, *after], newest=3, days=2)
    assert [name for name in before if name not in gone] == [before[-1]]
    assert [name for name in after if name not in gone] == after[-3:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["20269999T000000.000Z-a", "20260101T246060.000Z-a"])
def test_a_file_named_after_no_moment_is_no_generation_and_stays(volume: Path, name: str) -> None:
    folder = volume / "snapshots"
    files = [folder / f"{name}.json", folder / f"{name}.db.gz"]
    for file in files:
        file.write_bytes(b"somebody's")
    assert generations.listed(Folder(volume)) == [FIRST, NEWER]
    (volume / "latest.json").write_text(json.dumps({"generation": name, "format": 1}))
    with pytest.raises(generations.ManifestError, match="names no generation"):
        generations.pointed(Folder(volume))
    generations.prune(Folder(volume), newest=9, days=9)
    assert [file.read_bytes() for file in files] == [b"somebody's"] * 2


@pytest.mark.slow
def test_pruning_leaves_no_half_and_takes_what_was_cut_off(volume: Path, tmp_path: Path, template: Path) -> None:
    put_snapshot(volume, template, NEWEST)
    (volume / "snapshots" / "20250101T000000.000Z-dead.db.gz").write_bytes(b"cut off")
    generations.prune(Folder(volume), newest=1, days=0, kept=[NEWER])
    names = sorted(file.name for file in (volume / "snapshots").iterdir())
    assert names == [f"{NEWER}.db.gz", f"{NEWER}.json", f"{NEWEST}.db.gz", f"{NEWEST}.json"]


@pytest.mark.slow
def test_only_one_of_many_takes_the_lease(tmp_path: Path) -> None:
    storage, taken, waiting = Folder(tmp_path), [], threading.Event()
    elsewhere = lease.Lease(1, "first", "trial", "elsewhere", 1, "2026-01-01T00:00:00+00:00", released=True)
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "000001.json").write_text(json.dumps(dataclasses.asdict(elsewhere)))

    def stop(_: lease.Lease) -> None:
        waiting.set()
        raise SystemExit

    def take(name: str) -> None:
        # The holder is this very process, so that only the number decides.
        with contextlib.suppress(SystemExit):
            taken.append(lease.take(storage, name, "trial", 60, stop))

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    numbers = [held.number for held in taken]
    assert sorted(numbers) == sorted(set(numbers))


@pytest.mark.slow
def test_who_renews_seldom_is_waited_for_as_long_as_his_own_lease_lasts(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc).isoformat()
    seldom = lease.Lease(1, "seldom", "trial", "elsewhere", 1, now, seconds=3)
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "000001.json").write_text(json.dumps(dataclasses.asdict(seldom)))
    begun, waited = time.monotonic(), []
    mine = lease.take(Folder(tmp_path), "mine", "trial", 0.2, lambda held: waited.append(held.instance))
    assert time.monotonic() - begun > 3 and set(waited) == {"seldom"}
    assert (mine.number, json.loads((tmp_path / "leases" / "000002.json").read_text())["seconds"]) == (2, 0.2)


@pytest.mark.slow
def test_a_lease_that_is_renewed_from_elsewhere_is_not_taken_and_one_that_is_not_is(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    other = lease.Lease(4, "other", "trial", "elsewhere", 1, datetime.now(timezone.utc).isoformat())
    (tmp_path / "leases").mkdir()
    file, closed = tmp_path / "leases" / "000004.json", threading.Event()

    def renew() -> None:
        beat = 0
        while not closed.wait(0.2):
            beat += 1
            fresh = dataclasses.replace(other, beat=beat, renewed=datetime.now(timezone.utc).isoformat())
            # As a storage does it: whole or not at all.
            (tmp_path / "new").write_text(json.dumps(dataclasses.asdict(fresh)))
            (tmp_path / "new").replace(file)

    waits: list[lease.Lease] = []
    thread = threading.Thread(target=renew)
    thread.start()
    time.sleep(0.5)

    def waiting(held: lease.Lease) -> None:
        waits.append(held)
        if len(waits) == 4:
            closed.set()

    began = time.monotonic()
    mine = lease.take(storage, "mine", "trial", 2, waiting)
    assert mine.number == 5
    assert time.monotonic() - began > 4
    assert waits[0].instance == "other"
    thread.join()


@pytest.fixture
def kept(tmp_path: Path, template: Path) -> settings.Settings:
    """Settings of an app whose state is on a small disk."""
    env = {
        "MLFLOW_APP_VOLUME": str(tmp_path / "volume"),
        "MLFLOW_APP_STATE_DIR": str(tmp_path / "state"),
        "MLFLOW_APP_SNAPSHOT_SECONDS": "0.2",
        "MLFLOW_APP_NAME": "trial",
    }
    return settings.read(env)


def wait(status: Status, key: str, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while not (found := status.part("snapshot").get(key)):
        assert time.monotonic() < deadline, status.document()
        time.sleep(0.05)
    return str(found)


@pytest.mark.slow
@pytest.mark.parametrize("full", ["state", "volume"])
def test_a_full_disk_is_told_and_the_next_snapshot_is_made_when_there_is_room(
    tmp_path: Path, template: Path, kept: settings.Settings, full: str
) -> None:
    with small_disk(tmp_path / full, "20m"):
        kept.state.mkdir(exist_ok=True)
        shutil.copy(template, kept.database_file)
        with contextlib.closing(sqlite3.connect(kept.database_file)) as base:
            base.execute("PRAGMA journal_mode=WAL")
            storage, status = Folder(Path(kept.volume)), Status(kept.status_file, {"snapshot": {}})
            mine = lease.take(storage, "1a2b", "trial", 30, lambda _: None)
            keeper = Keeper(kept, storage, mine, status, Began("", saved=False))
            with contextlib.suppress(OSError), (tmp_path / full / "fill").open("wb", buffering=0) as fill:
                while fill.write(bytes(1024)):
                    pass
            keeper.start()
            assert "full" in (error := wait(status, "error")) or "space" in error
            assert status.document()["loss_seconds"] >= 0
            assert not list((tmp_path / "volume" / "snapshots").glob("*.json"))
            (tmp_path / full / "fill").unlink()
            generation = wait(status, "generation")
            assert status.part("snapshot")["error"] == ""
            assert (tmp_path / "volume" / "snapshots" / f"{generation}.json").exists()
            keeper.close(5)
            assert keeper.finish(storage)
            assert not [file for file in kept.state.iterdir() if file.name.startswith(".snapshot")]


@pytest.mark.slow
def test_nothing_is_stored_while_nothing_changes(tmp_path: Path, template: Path, kept: settings.Settings) -> None:
    kept.state.mkdir()
    shutil.copy(template, kept.database_file)
    storage, status = Folder(Path(kept.volume)), Status(kept.status_file, {"snapshot": {}})
    with contextlib.closing(sqlite3.connect(kept.database_file)) as base:
        base.execute("PRAGMA journal_mode=WAL")
        mine = lease.take(storage, "1a2b", "trial", 30, lambda _: None)
        keeper = Keeper(kept, storage, mine, status, Began("", saved=True))
        keeper.start()
        time.sleep(1)
        assert storage.names("snapshots") == []
        base.execute("UPDATE experiments SET name = 'changed'")
        base.commit()
        wait(status, "generation")
        time.sleep(1)
        keeper.close(5)
        assert keeper.finish(storage)
    assert len(storage.names("snapshots")) == 2
    assert json.loads((tmp_path / "volume" / "leases" / "000001.json").read_text())["released"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        lease.take(Folder(tmp_path / "file"), "1a2b", "trial", 1, lambda _: None)
