"""Each notebook of databricks_notebooks/ runs as on a driver, and does what its command does."""

import contextlib
import json
import os
import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests import bundle_content, rest
from tests.conftest import Run
from tests.databricks import notebook_cases
from tests.databricks.notebook_cases import FOLDER, IMPORTS, OTHERS, Made
from tests.databricks.run_notebook import Ended, run_notebook
from tests.live.test_tools import SIGNATURE
from tests.rest import Api, Json
from tests.servers import Server

NOBODY = Made("", "", "", "")
NAMES = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py")}


def command_of(name: str) -> str:
    """`single/Export_Run` → `export-run`."""
    return name.rpartition("/")[2].lower().replace("_", "-")


def run(name: str, **values: str | Path) -> Ended:
    """Run a notebook; words of widgets are given with `_`."""
    return run_notebook(FOLDER / f"{name}.py", {key.replace("_", "-"): str(value) for key, value in values.items()})


def ran(name: str, **values: str | Path) -> Json:
    """The report a notebook ends with; fails the test where it raised."""
    ended = run(name, **values)
    assert ended.error is None, ended.trace
    document = json.loads(ended.exit or "")
    assert isinstance(document, dict)
    return document


def words(values: dict[str, str]) -> list[str]:
    """The command line that means what simple widgets say."""
    found = []
    for key, value in values.items():
        if key in {"place", "places"}:
            found += [part.strip("'") for part in value.split(" ")]
        elif key == "verbose":
            found += ["-v"] * int(value)
        else:
            several = value.split(";") if key == "rename" else value.split(",") if key == "allow-loss" else [value]
            found += [word for each in several if each != "none" for word in (f"--{key}", each.strip())]
    return found


def made_of(kinds: dict[str, dict[str, int]], state: str) -> dict[str, int]:
    return {kind: counts[state] for kind, counts in kinds.items() if counts[state]}


def everything(server: Server) -> list[str]:
    """What a server has, as its database tells."""
    with contextlib.closing(sqlite3.connect(server.database)) as base:
        return list(base.iterdump())


def same(left: Json, right: Json) -> bool:
    """Whether two documents tell the same, but for how long it took."""
    return {**left, "seconds": 0, "requests": {}} == {**right, "seconds": 0, "requests": {}}


@pytest.fixture
def content(empty_source: Server) -> Made:
    """What is at the source."""
    return notebook_cases.seed(empty_source)


def test_every_notebook_is_run_by_a_test() -> None:
    run_here = {
        *notebook_cases.exports(NOBODY),
        *IMPORTS,
        *notebook_cases.copies(NOBODY),
        *notebook_cases.looks(NOBODY, Path()),
        *OTHERS,
    }
    assert run_here == NAMES


@pytest.mark.parametrize("name", notebook_cases.exports(NOBODY))
def test_an_export_notebook_makes_the_bundle_its_command_makes(
    name: str, content: Made, run_here: Run, tmp_path: Path
) -> None:
    values = notebook_cases.exports(content)[name]
    report = ran(name, tracking_uri=content.url, output_dir=tmp_path / "notebook", **values)
    assert report["ok"] and report["destination"] == str(tmp_path / "notebook")
    place = ("--tracking-uri", content.url, "--output-dir", tmp_path / "command")
    told = run_here(command_of(name), *place, *words(values), "--json").expect(0).json
    assert bundle_content.differing(tmp_path / "notebook", tmp_path / "command") == []
    assert told["kinds"] == report["kinds"]
    assert sum(made_of(report["kinds"], "done").values()) > 0


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_notebook_leaves_its_command_nothing_to_do(
    name: str, content: Made, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    exported, values = IMPORTS[name]
    asked = words(notebook_cases.exports(content)[exported])
    run_here(command_of(exported), "--tracking-uri", content.url, "--output-dir", tmp_path / "b", *asked).expect(0)
    before = everything(destination)
    report = ran(name, tracking_uri=destination.url, input_dir=tmp_path / "b", **values)
    after = everything(destination)
    assert after != before
    place = ("--tracking-uri", destination.url, "--input-dir", tmp_path / "b")
    told = run_here(command_of(name), *place, *words(values), "--json").expect(0).json
    assert made_of(told["kinds"], "asked") == made_of(report["kinds"], "asked")
    assert made_of(told["kinds"], "done") == {} and everything(destination) == after


@pytest.mark.parametrize("name", notebook_cases.copies(NOBODY))
def test_a_copy_notebook_leaves_its_command_nothing_to_do(
    name: str, content: Made, destination: Server, run_here: Run
) -> None:
    ends = (
        ("src-registry-uri", "dst-registry-uri") if name.endswith("Version") else ("src-mlflow-uri", "dst-mlflow-uri")
    )
    values = notebook_cases.copies(content)[name]
    places = {ends[0]: content.url, ends[1]: destination.url}
    before = everything(destination)
    report = ran(name, **values, **places)
    after = everything(destination)
    assert after != before
    told = run_here(command_of(name), *words(values | places), "--json").expect(0).json
    assert made_of(told["kinds"], "asked") == made_of(report["kinds"], "asked")
    assert made_of(told["kinds"], "done") == {} and everything(destination) == after


@pytest.mark.parametrize("name", notebook_cases.looks(NOBODY, Path()))
def test_a_notebook_that_looks_tells_what_its_command_tells(
    name: str, content: Made, run_here: Run, tmp_path: Path
) -> None:
    run_here("export-all", "--tracking-uri", content.url, "--output-dir", tmp_path / "b").expect(0)
    values = notebook_cases.looks(content, tmp_path / "b")[name]
    ended = run(name, **values)
    assert ended.error is None, ended.trace
    told = run_here(command_of(name), *words(values), "--json").expect(0).json
    assert same(json.loads(ended.exit or ""), told)
    assert ended.shown and "<h3>" in ended.shown[0]


def test_the_id_map_notebook_shows_what_came_from_where(
    content: Made, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    run_here("copy-all", "--src-mlflow-uri", content.url, "--dst-mlflow-uri", destination.url)
    assert run("tools/Id_Map", place=destination.url, output_file=tmp_path / "ids.csv").error is None
    lines = (tmp_path / "ids.csv").read_text().splitlines()
    assert lines == run_here("id-map", destination.url).expect(0).stdout.splitlines()
    assert any(content.run in line for line in lines)


def test_the_notebooks_that_make_a_bundle_of_a_bundle(content: Made, run_here: Run, tmp_path: Path) -> None:
    run_here("export-all", "--tracking-uri", content.url, "--output-dir", tmp_path / "all").expect(0)
    ran("tools/Filter_Export", input_dir=tmp_path / "all", output_dir=tmp_path / "part", experiments="wine")
    run_here(
        "filter-export", "--input-dir", tmp_path / "all", "--output-dir", tmp_path / "p", "--experiments", "wine"
    ).expect(0)
    assert bundle_content.differing(tmp_path / "part", tmp_path / "p") == []
    ran("tools/Rewrite_Export", input_dir=tmp_path / "all", output_dir=tmp_path / "less", drop_artifacts="*.bin")
    assert list((tmp_path / "all").rglob("data.bin")) and not list((tmp_path / "less").rglob("data.bin"))


def test_the_notebooks_of_signatures(content: Made, tmp_path: Path) -> None:
    place, model = {"tracking_uri": content.url}, f"runs:/{content.run}/model"
    missing = run("tools/Get_Model_Signature", model_uri=model, **place)
    assert missing.exit is None and "no signature" in (missing.error or "")
    listed = ran("tools/List_Model_Versions_Without_Signatures", **place)
    assert [row["model"] for row in listed["without_signature"]] == ["churn"]
    (tmp_path / "signature.json").write_text(json.dumps(SIGNATURE))
    ran("tools/Set_Model_Signature", model_uri=model, input_file=tmp_path / "signature.json", **place)
    assert ran("tools/Get_Model_Signature", model_uri=model, **place)["signature"]["inputs"] == SIGNATURE["inputs"]


def test_a_notebook_installs_the_version_it_was_made_for_and_forgets_all_names_before_it_makes_widgets() -> None:
    version = re.search(r'^version = "(.*)"', (FOLDER.parent / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for path in FOLDER.rglob("*.py"):
        text = path.read_text()
        assert f"# MAGIC %pip install mlflow-migration=={version[1]}\n" in text, path
        assert text.index("%pip") < text.index("restartPython()") < text.index("dbutils.widgets."), path


def test_what_must_be_filled_in_and_is_not_ends_the_notebook_before_anybody_is_asked() -> None:
    ended = run("single/Export_Run", output_dir="/nowhere")
    assert ended.exit is None
    assert "UsageError" in (ended.error or "") and "--run-id" in (ended.error or "")
    assert ended.widgets["run-id"]["label"] == "01 run-id *"


def test_a_command_that_fails_ends_the_notebook_with_its_reasons_after_the_table_is_shown(
    content: Made, run_here: Run, tmp_path: Path
) -> None:
    run_here("export-all", "--tracking-uri", content.url, "--output-dir", tmp_path / "b").expect(0)
    api = Api(content.url)
    api.post("runs/set-tag", run_id=content.run, key="mlflow.note.content", value="1")
    api.post("experiments/update", experiment_id=rest.experiment(api, "wine")["experiment_id"], new_name="<b>wine")
    ended = run("tools/Verify", places=f"{content.url} {tmp_path / 'b'}")
    assert ended.exit is None
    assert "exit code 1" in (ended.error or "") and "wine" in (ended.error or "")
    assert f'<a href="{content.url}"' in ended.shown[0]
    assert "&lt;b&gt;wine" in ended.shown[0] and "<b>wine" not in ended.shown[0]


def test_values_that_no_option_takes_end_the_notebook(empty_source: Server, tmp_path: Path) -> None:
    for values in ({"workers": "many"}, {"artifacts": "some"}, {"allow-loss": "tag,nothing"}, {"patience": "-1"}):
        given = {"experiments": "all", "output-dir": str(tmp_path / "b"), "tracking-uri": empty_source.url, **values}
        ended = run_notebook(FOLDER / "bulk/Export_Experiments.py", given)
        assert "UsageError" in (ended.error or ""), values
    assert not (tmp_path / "b").exists()


def test_parameters_of_a_job_that_are_no_options_change_nothing(content: Made, tmp_path: Path) -> None:
    report = ran("bulk/Export_Prompts", tracking_uri=content.url, prompts="all", output_dir=tmp_path, team="red")
    assert made_of(report["kinds"], "done") == {"prompt": 1, "prompt_version": 2}


def test_a_name_that_begins_like_an_option_is_a_name(empty_source: Server, tmp_path: Path) -> None:
    api = Api(empty_source.url)
    api.post("experiments/create", name="--all; rm -rf")
    report = ran(
        "single/Export_Experiment",
        experiment="--all; rm -rf",
        tracking_uri=empty_source.url,
        output_dir=tmp_path / "b",
    )
    assert made_of(report["kinds"], "done") == {"experiment": 1}
    assert {each["name"] for each in rest.experiments(api)} == {"Default", "--all; rm -rf"}


def test_the_console_notebook_types_commands(monkeypatch: pytest.MonkeyPatch, empty_source: Server) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_source.url)
    ended = run("scripts/Console_Scripts")
    assert ended.error is None, ended.trace
