"""Exports in shards: all together hold the whole exactly once, and merged they are equal to one export of the whole."""

import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import bundles, databases, genai, servers, traces
from tests.conftest import Seeded, Tool
from tests.fidelity import test_evaluation_dataset, test_gateway, test_registry, test_review
from tests.rest import Api
from tests.servers import Server

OF = 3
EXPERIMENTS = 12


@pytest.fixture(scope="module")
def full(small: Seeded, server_pool: Callable[[str], Server]) -> Server:
    """A server with something of most kinds and runs with metrics and artifacts; the tests here only read it."""
    server = server_pool("source")
    servers.reset(server, small.content)
    api = Api(server.url)
    traces.seed(api)
    test_registry.seed(server)
    test_gateway.seed(server)
    for number in range(EXPERIMENTS):
        id_ = genai.experiment(server, f"more {number}")
        run_id = genai.run(server, id_)
        points = [{"key": key, "value": step / 3, "timestamp": step, "step": step} for key in "ab" for step in range(9)]
        tags = [{"key": f"tag {n}", "value": str(n)} for n in (3, 1, 2)]
        api.post("runs/log-batch", run_id=run_id, metrics=points, tags=tags, params=tags)
        api.post("registered-models/create", name=f"model {number}", tags=tags)
        api.post("model-versions/create", name=f"model {number}", source=f"runs:/{run_id}/model", run_id=run_id)
    for n in range(40):
        # Many within one millisecond: only the id puts them in order.
        traces.start(api, id_, f"tr-{n * 7919 % 40:032x}", request_time="2024-05-01T00:00:00Z", tags={"n": str(n)})
    api.close()
    return server


@pytest.fixture(scope="module")
def whole(full: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it in one bundle."""
    folder = tmp_path_factory.mktemp("whole-") / "whole"
    tool = Tool(tmp_path_factory.mktemp("home-"))
    tool("export-all", "--tracking-uri", full.url, "--output-dir", folder)
    return folder


@pytest.fixture(scope="module")
def shards(full: Server, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in shards."""
    base = tmp_path_factory.mktemp("shards-")
    tool = Tool(tmp_path_factory.mktemp("home-"))
    for number in range(1, OF + 1):
        folder = base / f"shard {number}"
        tool("export-all", "--tracking-uri", full.url, "--shard", f"{number}/{OF}", "--output-dir", folder)
    return [base / f"shard {number}" for number in range(1, OF + 1)]


def test_two_exports_are_equal_byte_for_byte(full: Server, whole: Path, run_tool: Tool, tmp_path: Path) -> None:
    run_tool("export-all", "--tracking-uri", full.url, "--output-dir", tmp_path / "again", "--workers", "3")
    assert bundles.differences(whole, tmp_path / "again") == []
    # Else the comparison would mean little.
    kinds = json.loads((whole / "manifest.json").read_text("utf-8"))["info"]["counts"]
    assert kinds["trace"]["done"] > 40
    assert kinds["run"]["done"] > EXPERIMENTS


def test_traces_lie_in_the_order_of_their_times_and_ids(whole: Path) -> None:
    lengths = []
    for path in whole.rglob("traces-*.jsonl"):
        heads = [json.loads(line)["mlflow"] for line in path.read_bytes().splitlines()]
        order = [(head["request_time"], head["trace_id"]) for head in heads]
        assert order == sorted(order)
        lengths.append(len(order))
    assert max(lengths) == 40


def test_the_shards_together_hold_every_object_once(whole: Path, shards: list[Path]) -> None:
    lists = {"manifest.json", "SHA256SUMS", "failures.jsonl"}

    def objects(folder: Path) -> set[str]:
        found = set(databases.files(folder)) - lists
        return {name for name in found if name != "{0}/{0}.json".format(name.split("/")[0])}

    assert sorted(name for folder in shards for name in objects(folder)) == sorted(objects(whole))
    experiments = [len(list((folder / "experiments").glob("*/experiment.json"))) for folder in shards]
    assert min(experiments) > 0


def test_merged_shards_are_equal_to_one_export_byte_for_byte(
    whole: Path, shards: list[Path], run_tool: Tool, tmp_path: Path
) -> None:
    merged = tmp_path / "merged"
    outcome = run_tool("bundle", "merge", *reversed(shards), "--output-dir", merged, "--json").expect(0)
    assert bundles.differences(whole, merged) == []
    assert outcome.json["kinds"] == json.loads((whole / "manifest.json").read_text("utf-8"))["info"]["counts"]
    run_tool("verify", merged).expect(0)


def test_a_merged_bundle_is_verified_against_its_server(
    full: Server, shards: list[Path], run_tool: Tool, tmp_path: Path
) -> None:
    run_tool("bundle", "merge", *shards, "--output-dir", tmp_path / "merged").expect(0)
    result = run_tool("verify", full.url, tmp_path / "merged", "--json").json
    assert result["differences"] == []
    assert result["kinds"]["experiment"]["equal"] > EXPERIMENTS


def test_verify_compares_with_a_shard_what_belongs_to_it(full: Server, shards: list[Path], run_tool: Tool) -> None:
    held = Counter[str]()
    for folder in shards:
        result = run_tool("verify", full.url, folder, "--json").expect(0).json
        assert result["differences"] == []
        held["experiment"] += result["kinds"]["experiment"]["equal"]
    (count,) = genai.rows(full, "SELECT count(*) FROM experiments")
    assert held["experiment"] == count[0]


def test_an_experiment_missing_in_a_shard_is_found(full: Server, shards: list[Path], run_tool: Tool) -> None:
    source = genai.experiment(full, "came later")
    try:
        found = [run_tool("verify", full.url, folder, "--json").json["kinds"]["experiment"] for folder in shards]
        assert sorted(kind["missing"] for kind in found) == [0] * (OF - 1) + [1]
    finally:
        with contextlib.closing(sqlite3.connect(full.database, timeout=20)) as base, base:
            base.execute("DELETE FROM experiments WHERE experiment_id = ?", (source,))


def test_experiments_are_imported_shard_by_shard(
    whole: Path, run_tool: Tool, destination: Server, tmp_path: Path
) -> None:
    counts = Counter[str]()
    for number in range(1, OF + 1):
        load = ("import-experiments", "--input-dir", whole, "--tracking-uri", destination.url, "--json")
        kinds = run_tool(*load, "--shard", f"{number}/{OF}").json["kinds"]
        counts.update({kind: found["done"] + found["updated"] + found["same"] for kind, found in kinds.items()})
    asked = json.loads((whole / "manifest.json").read_text("utf-8"))["info"]["counts"]
    assert counts["experiment"] == asked["experiment"]["done"]
    assert counts["run"] == asked["run"]["done"]


@pytest.fixture(scope="module")
def others(full: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Shards of exports with another number of shards, and with other options."""
    base = tmp_path_factory.mktemp("others-")
    export = ("export-all", "--tracking-uri", full.url, "--artifacts", "skip", "--output-dir")
    tool = Tool(base / "home")
    tool(*export, base / "number", "--shard", "3/4")
    tool(*export, base / "options", "--shard", "3/3")
    return {"number": base / "number", "options": base / "options"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{1} {2}", "shards are missing: 3/3"),
        ("{1} {2} {3} {2}", "two bundles hold shard 2 of 3"),
        ("{1} {2} {whole}", "not a shard"),
        ("{1} {2} {number}", "different numbers of shards"),
        ("{1} {2} {options}", "different options"),
    ],
)
def test_what_does_not_belong_together_is_not_merged(
    words: str, message: str, bundle_of: Callable[[str], Path], run_tool: Tool, tmp_path: Path
) -> None:
    folders = [bundle_of(word) for word in words.split()]
    outcome = run_tool("bundle", "merge", *folders, "--output-dir", tmp_path / "merged").expect(2)
    assert message in outcome.stderr
    assert "try: " in outcome.stderr
    assert not (tmp_path / "merged").exists()


@pytest.fixture
def bundle_of(whole: Path, shards: list[Path], others: dict[str, Path]) -> Callable[[str], Path]:
    """The bundle that a word in braces means."""
    named = {"{whole}": whole, **{f"{{{n}}}": folder for n, folder in enumerate(shards, 1)}}
    return (named | {f"{{{name}}}": folder for name, folder in others.items()}).__getitem__


def test_a_shard_that_was_changed_is_not_merged(shards: list[Path], run_tool: Tool, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(shards[1], changed)
    head = next(changed.glob("experiments/*/*/run.json"))
    head.write_bytes(head.read_bytes() + b"\n")
    merge = ("bundle", "merge", shards[0], changed, shards[2], "--output-dir", tmp_path / "merged")
    outcome = run_tool(*merge).expect(4)
    assert f"{head.relative_to(changed)} is changed" in outcome.stderr
    assert not (tmp_path / "merged").exists()


def test_a_folder_takes_no_second_shard(full: Server, run_tool: Tool, tmp_path: Path) -> None:
    export = (
        "export-experiments",
        "--experiments",
        "all",
        "--tracking-uri",
        full.url,
        "--output-dir",
        tmp_path / "one",
    )
    run_tool(*export, "--shard", "1/3")
    before = bundles.settled(tmp_path / "one")
    for more in (("--shard", "2/3"), ()):
        assert "another shard" in run_tool(*export, *more).expect(2).stderr
    assert bundles.settled(tmp_path / "one") == before


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_refused(text: str, run_tool: Tool, tmp_path: Path) -> None:
    export = ("export-all", "--tracking-uri", "http://localhost:1", "--output-dir", tmp_path / "one")
    assert "not a shard" in run_tool(*export, f"--shard={text}").expect(2).stderr


def test_models_in_shards_bring_what_they_need_once(full: Server, run_tool: Tool, tmp_path: Path) -> None:
    place = ("--tracking-uri", full.url, "--models", "all")
    run_tool("export-models", *place, "--output-dir", tmp_path / "whole")
    parts = [tmp_path / f"{number}" for number in (1, 2)]
    for number, folder in enumerate(parts, 1):
        run_tool("export-models", *place, "--output-dir", folder, "--shard", f"{number}/2")
    run_tool("bundle", "merge", *parts, "--output-dir", tmp_path / "merged").expect(0)
    assert bundles.differences(tmp_path / "whole", tmp_path / "merged") == []


@pytest.mark.parametrize("seed", [test_review.seed, test_evaluation_dataset.seed])
def test_what_lies_in_several_experiments_is_in_one_shard(
    seed: Callable[[Server], object], destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(destination)
    export = ("export-all", "--tracking-uri", destination.url, "--output-dir")
    run_tool(*export, tmp_path / "whole")
    for number in (1, 2):
        run_tool(*export, tmp_path / f"{number}", "--shard", f"{number}/2")
    run_tool("bundle", "merge", tmp_path / "1", tmp_path / "2", "--output-dir", tmp_path / "merged").expect(0)
    assert bundles.differences(tmp_path / "whole", tmp_path / "merged") == []
