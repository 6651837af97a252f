"""Export to a folder, import from it: nothing is lost, nothing comes twice."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import databases, rest
from tests.conftest import Outcome, Seeded, Tool
from tests.rest import Api, Portrait
from tests.servers import Server

Bundle = tuple[Path, Outcome]


def arrived(server: Server, experiment: str) -> dict[str, Portrait]:
    """Runs of one experiment of a destination by their source run id, without what the tool adds."""
    api = Api(server.url)
    found = {}
    for run in rest.runs(api, rest.experiment(api, experiment)["experiment_id"]):
        portrait = rest.portrait(api, run)
        origin = portrait.tags["mlflow_migration.run_id"]
        assert origin not in found
        for key in [key for key in portrait.tags if key.startswith("mlflow_migration.")]:
            del portrait.tags[key]
        found[origin] = portrait
    api.close()
    return found


def original(server: Server, run_id: str) -> Portrait:
    """One run of a source."""
    api = Api(server.url)
    portrait = rest.portrait(api, api.get("runs/get", run_id=run_id)["run"])
    api.close()
    return portrait


def test_the_export_of_a_whole_server_counts_everything(hostile_bundle: Bundle, hostile: Seeded) -> None:
    report = hostile_bundle[1].expect(0).json
    assert report["ok"] is True
    assert report["rows"] == []
    for kind, count in hostile.corpus.counts.items():
        assert report["kinds"][kind]["asked"] == report["kinds"][kind]["done"] == count
    assert report["kinds"]["run"]["bytes"] > 12_000_000


@pytest.mark.slow
def test_a_whole_server_survives_and_the_same_commands_add_nothing(
    server_a: Server, hostile: Seeded, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    place = ("--tracking-uri", server_a.url)
    export = ("export-experiments", *place, "--experiments", "all", "--output-dir", bundle, "--json")
    import_ = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*export).expect(0)
    report = run_tool(*import_).expect(0).json
    assert databases.compare(server_a, destination) == []
    assert report["kinds"]["run"]["done"] == hostile.corpus.counts["run"]

    before, files = databases.dump(destination), run_files(bundle)
    for command in (export, import_):
        again = run_tool(*command).expect(0).json
        for kind, count in hostile.corpus.counts.items():
            assert again["kinds"][kind]["same"] == again["kinds"][kind]["asked"] == count, (command[0], again["kinds"])
    assert run_files(bundle) == files
    assert databases.counts(destination) == {table: len(rows) for table, rows in before.items() if rows}
    assert databases.dump(destination) == before


def run_files(bundle: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below the experiments' folders."""
    found = databases.files(bundle / "experiments")
    return {name: (path.stat().st_size, path.stat().st_mtime_ns) for name, path in found.items() if name.count("/") > 1}


def test_another_machine_without_the_ledger_adds_nothing(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    place = ("--tracking-uri", source.url)
    run_tool("export-experiments", *place, "--experiments", "all", "--output-dir", bundle).expect(0)
    import_ = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle)
    run_tool(*import_).expect(0)
    before = databases.dump(destination)
    elsewhere = Tool(tmp_path / "another home")
    report = elsewhere(*import_, "--json").expect(0).json
    assert report["kinds"]["run"]["same"] == 5
    assert databases.dump(destination) == before
    assert databases.compare(source, destination) == []


@pytest.mark.parametrize("label", ["metrics", "artifacts", "250 params", "2000 tags", "dataset two", "start zero"])
def test_one_run_alone_survives(
    server_a: Server, hostile: Seeded, destination: Server, run_tool: Tool, label: str
) -> None:
    run_id = hostile.corpus.runs[label]
    folder = run_tool.home / "one run"
    run_tool("export-run", "--tracking-uri", server_a.url, "--run-id", run_id, "--output-dir", folder).expect(0)
    import_ = ("import-run", "--tracking-uri", destination.url, "--input-dir", folder, "--experiment-name", "élsewhere")
    run_tool(*import_).expect(0)
    assert arrived(destination, "élsewhere") == {run_id: original(server_a, run_id)}
    before = databases.dump(destination)
    run_tool(*import_).expect(0)
    assert databases.dump(destination) == before


def test_a_run_with_a_model_names_its_new_id_in_the_mlmodel_file_and_nowhere_else(
    server_a: Server, hostile: Seeded, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    old = hostile.corpus.runs["model"]
    run_tool("export-run", "--tracking-uri", server_a.url, "--run-id", old, "--output-dir", tmp_path / "d").expect(0)
    target = ("--tracking-uri", destination.url, "--experiment-name", "m")
    run_tool("import-run", *target, "--input-dir", tmp_path / "d").expect(0)
    api = Api(destination.url)
    (run,) = rest.runs(api, rest.experiment(api, "m")["experiment_id"])
    new = run["info"]["run_id"]
    api.close()
    before, after = original(server_a, old), arrived(destination, "m")[old]
    replaced = {"model/MLmodel": before.files["model/MLmodel"].replace(old.encode(), new.encode())}
    assert after.files == before.files | replaced
    history = "mlflow.log-model.history"
    assert after.tags == before.tags | {history: before.tags[history].replace(old, new)}


def test_an_experiment_goes_into_another_name(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "one"
    run_tool("export-experiment", "--tracking-uri", source.url, "--experiment", "one", "--output-dir", bundle).expect(0)
    target = ("--tracking-uri", destination.url, "--experiment-name", "/new/öne")
    report = run_tool("import-experiment", *target, "--input-dir", bundle, "--json").expect(0).json
    assert report["kinds"]["run"]["done"] == 3
    assert databases.compare(source, destination, {"one": "/new/öne"}) == []


def test_an_experiment_may_be_named_by_its_id(source: Server, small: Seeded, run_tool: Tool, tmp_path: Path) -> None:
    number = small.corpus.experiments["two"]
    place = ("--tracking-uri", source.url)
    command = ("export-experiment", *place, "--experiment", number, "--output-dir", tmp_path / "two", "--json")
    report = run_tool(*command).expect(0).json
    assert report["kinds"]["run"]["done"] == 2


def test_a_rename_file_gives_experiments_other_names(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle, renames = tmp_path / "all", tmp_path / "renames.csv"
    run_tool("export-experiments", "--tracking-uri", source.url, "--experiments", "all", "--output-dir", bundle).expect(
        0
    )
    renames.write_text('one,"uno, eins"\ntwo/é,due\n', encoding="utf-8")
    target = ("--tracking-uri", destination.url, "--experiment-rename-file", renames)
    run_tool("import-experiments", *target, "--input-dir", bundle).expect(0)
    names = {"one": "uno, eins", "two/é": "due", "Default": "Default"}
    assert databases.compare(source, destination, names) == []


def test_deleted_runs_stay_behind_when_asked(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "all"
    place = ("--tracking-uri", source.url, "--experiments", "all", "--export-deleted-runs", "False")
    run_tool("export-experiments", *place, "--output-dir", bundle).expect(0)
    run_tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle).expect(0)
    (missing,) = databases.compare(source, destination)
    assert "'gone'" in missing
    assert "0 copies" in missing


def test_a_dry_run_writes_nothing(source: Server, destination: Server, run_tool: Tool, tmp_path: Path) -> None:
    bundle = tmp_path / "all"
    export = ("export-experiments", "--tracking-uri", source.url, "--experiments", "all", "--output-dir", bundle)
    would = run_tool(*export, "--dry-run", "--json").expect(0).json
    assert would["dry_run"] is True
    assert would["kinds"]["run"]["asked"] == 5
    assert databases.files(bundle) == {}
    run_tool(*export).expect(0)
    before = databases.dump(destination)
    import_ = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle, "-n", "--json")
    would = run_tool(*import_).expect(0).json
    assert would["kinds"]["run"]["done"] == would["kinds"]["run"]["asked"] == 5
    assert databases.dump(destination) == before


def test_coreutils_alone_can_prove_a_bundle(hostile_bundle: Bundle) -> None:
    folder, outcome = hostile_bundle
    outcome.expect(0)
    # macOS has Perl's `shasum` in its place, with the same options.
    program = ["sha256sum"] if shutil.which("sha256sum") else ["shasum", "--algorithm", "256"]
    done = subprocess.run(
        [*program, "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done
    listed = len((folder / "SHA256SUMS").read_bytes().splitlines())
    others = {"SHA256SUMS", "manifest.json"}
    assert listed >= len([name for name in databases.files(folder) if name not in others])
