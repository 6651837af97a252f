"""Going back to an older generation of an app's database, and a bundle of any of them."""

import json
from pathlib import Path

import pytest
import requests

from tests.apps import dev
from tests.apps.dev import Team
from tests.apps.runtime import FIRST, PERSON, App, new_run, put_snapshot, running
from tests.conftest import Outcome, Tool

THERE = 200


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


def restore(tool: Tool, volume: Path, *words: str) -> Outcome:
    return tool("app", "restore", "--volume", volume, "--json", *words)


def pointed(volume: Path) -> str:
    return str(json.loads((volume / "latest.json").read_text())["generation"])


def has_run(app: App, run: str) -> bool:
    answer = requests.get(f"{app.url}/api/2.0/mlflow/runs/get", params={"run_id": run}, headers=PERSON, timeout=30)
    return answer.status_code == THERE


def two_generations(volume: Path, folder: Path, template: Path) -> tuple[str, str, str]:
    """An app that began with FIRST and was ended after a run: the run, and both generations."""
    put_snapshot(volume, template)
    with running(folder, volume) as app:
        run = new_run(app.serving())
        app.until(lambda found: found["snapshot"].get("generation") not in (FIRST, None))
        assert app.stop()[0] == 0
    return run, FIRST, pointed(volume)


@pytest.mark.slow
def test_an_app_begins_with_the_generation_that_was_restored_and_the_newer_ones_stay(
    volume: Path, template: Path, run_tool: Tool, tmp_path: Path
) -> None:
    run, first, last = two_generations(volume, tmp_path / "app", template)
    done = restore(run_tool, volume, "--generation", "previous" if last == first else first).expect(0).json
    assert (done["before"], done["generation"], done["changed"]) == (last, first, True)
    with running(tmp_path / "app", volume) as app:
        assert not has_run(app.serving(), run)
        later = new_run(app)
        assert app.stop()[0] == 0
    assert (volume / "snapshots" / f"{last}.db.gz").is_file()
    restore(run_tool, volume, "--generation", last).expect(0)
    with running(tmp_path / "app", volume) as app:
        assert has_run(app.serving(), run) and not has_run(app, later)


def test_the_list_tells_which_generation_counts_and_which_are_broken(
    volume: Path, template: Path, run_tool: Tool
) -> None:
    broken, cut, newest = (f"2026010{day}T000000.000Z-00000000" for day in (2, 3, 4))
    put_snapshot(volume, template)
    put_snapshot(volume, template, broken).write_bytes(b"not what was stored")
    put_snapshot(volume, template, newest)
    (volume / "snapshots" / f"{cut}.db.gz").write_bytes(b"half")
    cheap = restore(run_tool, volume, "--list").expect(1).json["generations"]
    assert [(each["generation"], each["counts"], bool(each["problem"])) for each in cheap] == [
        (newest, True, False),
        (cut, False, True),
        (broken, False, False),
        (FIRST, False, False),
    ]
    checked = restore(run_tool, volume, "--list", "--check").expect(1).json["generations"]
    assert [(each["proven"], "digest" in each["problem"]) for each in checked] == [
        (True, False),
        (False, False),
        (False, True),
        (True, False),
    ]
    assert checked[0]["age"] > 0 and checked[0]["size"] > 0


def test_a_broken_generation_never_becomes_the_one_that_counts(volume: Path, template: Path, run_tool: Tool) -> None:
    newest = "20260102T000000.000Z-00000000"
    put_snapshot(volume, template).write_bytes(b"not what was stored")
    put_snapshot(volume, template, newest)
    refused = restore(run_tool, volume, "--generation", "previous").expect(1)
    assert "digest" in refused.json["error"]["message"]
    assert pointed(volume) == newest


def test_a_rehearsal_and_a_generation_that_counts_already_write_nothing(
    volume: Path, template: Path, run_tool: Tool
) -> None:
    newest = "20260102T000000.000Z-00000000"
    put_snapshot(volume, template)
    put_snapshot(volume, template, newest)
    before = sorted(volume.rglob("*"))
    assert restore(run_tool, volume, "--generation", "previous", "--dry-run").expect(0).json["generation"] == FIRST
    assert not restore(run_tool, volume, "--generation", newest).expect(0).json["changed"]
    assert (pointed(volume), sorted(volume.rglob("*"))) == (newest, before)


@pytest.mark.slow
def test_a_generation_that_is_not_there_or_not_named_is_wrong_usage(
    volume: Path, template: Path, run_tool: Tool
) -> None:
    put_snapshot(volume, template)
    for words in ((), ("--generation", "previous"), ("--generation", "20200101T000000.000Z-00000000")):
        restore(run_tool, volume, *words).expect(2)


@pytest.mark.slow
def test_nothing_is_restored_under_a_running_app(volume: Path, template: Path, run_tool: Tool, tmp_path: Path) -> None:
    put_snapshot(volume, template)
    put_snapshot(volume, template, "20260102T000000.000Z-00000000")
    with running(tmp_path / "app", volume) as app:
        app.serving()
        refused = restore(run_tool, volume, "--generation", FIRST).expect(1).json
        assert "stop the app" in refused["error"]["hint"]
        assert new_run(app)
    assert pointed(volume) != FIRST


@pytest.mark.slow
def test_a_new_app_made_of_a_backup_is_equal_to_the_one_that_was_lost(
    team: Team, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    run_tool("app", "seed", "--input-dir", team.bundle, "--volume", volume).expect(0)
    with running(tmp_path / "app", volume) as app:
        lived = new_run(app.serving())
        app.stop()
    backup, again = tmp_path / "backup", tmp_path / "again"
    taken = run_tool("app", "snapshot", "--to", backup, "--volume", volume, "--json").expect(0).json
    assert taken["generation"] == pointed(volume)
    run_tool("verify", backup).expect(0)
    run_tool("app", "seed", "--input-dir", backup, "--volume", again).expect(0)
    with running(tmp_path / "other", again) as app:
        assert has_run(app.serving(), lived)
        run_tool("verify", team.server.url, app.url).expect(0)
        found = dev.asked(dev.environment(app.url))
    assert found["runs"] == sorted([*team.made.runs, team.made.files]) and found["files"] == dev.FILES


@pytest.mark.slow
def test_a_backup_of_an_older_generation_is_of_that_one_and_leaves_the_app_alone(
    team: Team, volume: Path, template: Path, run_tool: Tool, tmp_path: Path
) -> None:
    put_snapshot(volume, template)
    seeded = (
        run_tool("app", "seed", "--input-dir", team.bundle, "--volume", volume, "--replace", "--json").expect(0).json
    )
    before = sorted(volume.rglob("*"))
    words = ("app", "snapshot", "--volume", volume, "--json", "--generation", FIRST)
    rehearsed = tmp_path / "rehearsed"
    run_tool(*words, "--to", rehearsed, "--dry-run").expect(0)
    assert not rehearsed.exists()
    taken = run_tool(*words, "--to", tmp_path / "old").expect(0).json
    assert taken["generation"] == FIRST and "run" not in taken["kinds"]
    assert (pointed(volume), sorted(volume.rglob("*"))) == (seeded["generation"], before)


@pytest.mark.slow
def test_people_read_the_list_by_its_columns_and_hear_that_there_is_none(
    volume: Path, template: Path, run_tool: Tool
) -> None:
    words = ("app", "restore", "--list", "--volume", volume)
    assert run_tool(*words).expect(0).stdout.strip() == f"no snapshots in {volume}"
    put_snapshot(volume, template)
    head, row = run_tool(*words).expect(0).stdout.splitlines()
    assert head.split() == ["generation", "age", "bytes", "mlflow", "app", "state"]
    assert row.startswith(f"*  {FIRST}") and row.index("trial") == head.index("app")
