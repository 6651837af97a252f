"""A disk that is full or may not be written: one clear message, nothing half made, and the same command goes on."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Outcome, ServerPool, Tool
from tests.faults import BIGGEST_FILE, Setting, Stage, staged


@pytest.fixture
def stage(shared_folder: Path, template: Path, server_pool: ServerPool, run_tool: Tool) -> Iterator[Stage]:
    """The corpus at the source, nothing at the destination."""
    with staged(Setting(shared_folder, template, server_pool), run_tool) as stage:
        yield stage


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of `size` (as tmpfs takes it) at `place`, gone afterwards; skips where that is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def refused(ended: Outcome, *words: str) -> None:
    """Exit code 1 or 2, one clear message with one of the `words`."""
    assert ended.code in (1, 2), str(ended)
    assert "error: " in ended.stderr, str(ended)
    assert "Traceback" not in ended.stderr, str(ended)
    assert any(word in ended.stderr for word in words), str(ended)


def no_leftovers(folder: Path) -> None:
    """Nothing counts as made: no manifest, and no run that names files which are not there."""
    assert not (folder / "manifest.json").exists()
    assert not (folder / "SHA256SUMS").exists()
    for head in folder.rglob("run.json"):
        assert (head.parent / "metrics.jsonl").exists()
        assert (head.parent / "artifacts").is_dir()


def test_a_full_disk_ends_an_export_that_goes_on_when_there_is_room(stage: Stage) -> None:
    with small_disk(stage.bundle, "300k"):
        ended = stage.tool(*stage.export)
        refused(ended, "space", "full")
        assert str(stage.bundle) in ended.stderr
        no_leftovers(stage.bundle)
        subprocess.run(["mount", "-o", "remount,size=50m", stage.bundle], check=True)
        stage.tool(*stage.export).expect(0)
        stage.exported()


def test_a_full_disk_under_the_state_folder_is_told(stage: Stage) -> None:
    with small_disk(stage.tool.home / "ledgers", "8k"):
        ended = stage.tool(*stage.copy)
        refused(ended, "space", "full")
    stage.tool(*stage.copy).expect(0)
    stage.arrived()


def test_a_limit_on_file_size_ends_an_export(stage: Stage) -> None:
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)"
    under = (sys.executable, "-c", f"{limited}; os.execv(sys.argv[2], sys.argv[2:])", str(BIGGEST_FILE - 1))
    ended = stage.start(*stage.export, under=under).end()
    refused(ended, "large", "space", "size")
    no_leftovers(stage.bundle)
    stage.tool(*stage.export).expect(0)
    stage.exported()


@pytest.mark.parametrize("word", ["export-run", "export-experiment", "export-experiments"])
def test_a_folder_that_cannot_be_made_is_told_before_anything_is_read(stage: Stage, word: str) -> None:
    blocked = stage.tool.home / "a-file"
    blocked.write_text("in the way")
    what = {
        "export-run": ("--run-id", stage.corpus.runs["alpha 0"]),
        "export-experiment": ("--experiment", "alpha"),
        "export-experiments": ("--experiments", "all"),
    }[word]
    ended = stage.tool(word, *what, "--output-dir", blocked / "bundle", "--tracking-uri", stage.src.url)
    refused(ended, str(blocked))
    assert stage.src.count("POST", "runs/search") == 0
    assert blocked.read_text() == "in the way"


def test_an_output_folder_that_is_a_file_is_told(stage: Stage) -> None:
    stage.bundle.write_text("in the way")
    refused(stage.tool(*stage.export), str(stage.bundle))
    assert stage.bundle.read_text() == "in the way"


def test_a_read_only_folder_is_told(stage: Stage) -> None:
    with small_disk(stage.bundle, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", stage.bundle], check=True)
        refused(stage.tool(*stage.export), "ead-only", "writ")
        assert list(stage.bundle.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_left_alone(stage: Stage) -> None:
    stage.bundle.mkdir()
    (stage.bundle / "thesis.txt").write_text("years of work")
    ended = stage.tool(*stage.export)
    assert ended.code == 2, str(ended)
    refused(ended, str(stage.bundle))
    assert [file.name for file in stage.bundle.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_taken(stage: Stage) -> None:
    stage.bundle.mkdir()
    stage.tool(*stage.export).expect(0)
    stage.exported()


def test_a_state_folder_that_cannot_be_made_is_told(stage: Stage) -> None:
    blocked = stage.tool.home / "a-file"
    blocked.write_text("in the way")
    tool = Tool(stage.tool.home, {"MLFLOW_MIGRATION_STATE_DIR": str(blocked / "state")})
    refused(tool(*stage.copy), str(blocked))
    assert stage.dst.count("POST", "create") == 0


@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_a_report_that_cannot_be_written_is_told(stage: Stage, ending: str) -> None:
    blocked = stage.tool.home / "a-file"
    blocked.write_text("in the way")
    ended = stage.tool(*stage.export, "--report", blocked / f"report.{ending}")
    refused(ended, str(blocked))


def test_a_full_disk_ends_the_reading_of_a_file_store(run_tool: Tool, tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    meta = f"artifact_uri: {store}\nexperiment_id: '1'\nname: one\nlifecycle_stage: active\nstatus: 3\n"
    for number in range(200):
        run = store / "1" / f"{number:032x}"
        (run / "params").mkdir(parents=True)
        (run / "meta.yaml").write_text(f"{meta}run_id: '{run.name}'\n")
        (run / "params" / "long").write_text("x" * 8000)
    (store / "1" / "meta.yaml").write_text(meta)
    words = ("doctor", store, "--json")
    for size in ("300k", "1500k"):
        with small_disk(tmp_path / "scratch", size):
            ended = run_tool.module("mlflow_migration", *words, env={"TMPDIR": str(tmp_path / "scratch")})
            error = ended.expect(1).json["error"]
            assert "full" in error["message"]
            assert "TMPDIR" in error["hint"]
            assert not list((tmp_path / "scratch").iterdir())
    assert run_tool(*words).expect(0).json["places"][0]["broken"] == 0
