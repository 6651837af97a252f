"""What an app installs: every version pinned, to versions that fit together, from where the configuration says."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement
from packaging.version import Version

from mlflow_migration.apps import channel, config, git_ui
from mlflow_migration.apps.channel import PREINSTALLED, Sources
from mlflow_migration.apps.deploy import deploy
from mlflow_migration.apps.preflight import Making
from mlflow_migration.apps.render import render
from mlflow_migration.apps.versions import Index
from mlflow_migration.errors import NotFoundError, UsageError
from tests.apps.deploying import configured, trial
from tests.apps.package_index import PackageIndex, serving, wheel
from tests.conftest import Tool
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN

HERE = metadata.version("mlflow")
OURS = metadata.version("mlflow-migration")
YARN = """
const fs = require("fs"), words = process.argv.slice(2).join(" ");
if (words.startsWith("install")) {
  fs.writeFileSync("installed", words);
} else {
  fs.mkdirSync("build");
  const from = process.env.YARN_NPM_REGISTRY_SERVER;
  const seen = ["DATABRICKS_TOKEN", "GITHUB_TOKEN", "NPM_TOKEN"].map((name) => process.env[name]).join(",");
  fs.writeFileSync("build/index.html", `${fs.readFileSync("installed")}; ${words} of ${from}; knows ${seen}`);
}
"""
PAGES = b"<html>of the release</html>"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex()) as index:
        yield index


def parsed(**values: Any) -> config.AppConfig:
    return config.parsed({"name": "trial", "volume": "/Volumes/main/ml/app", **values}, "here")


def pins(lines: tuple[str, ...]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if not line.startswith(("#", "-", "./"))]
    return {each.name.lower(): each for each in found}


def test_every_line_has_one_version_and_what_the_platform_has_is_replaced() -> None:
    found = pins(channel.packages(parsed(mlflow=HERE)).requirements)
    assert all([each.operator for each in requirement.specifier] == ["=="] for requirement in found.values())
    assert set(PREINSTALLED) < set(found)
    assert str(found["mlflow"]) == f"mlflow=={HERE}"
    assert str(found["mlflow-skinny"]) == f"mlflow-skinny=={HERE}"
    assert str(found["mlflow-migration"]) == f"mlflow-migration=={OURS}"


def test_what_is_needed_of_what_is_needed_is_pinned_too() -> None:
    found = pins(channel.packages(parsed(mlflow=HERE)).requirements)
    for name in found:
        if name != "mlflow-migration":
            needed = [Requirement(line) for line in metadata.requires(name) or ()]
            plain = [each.name.lower().replace("_", "-") for each in needed if not each.marker]
            assert set(plain) <= set(found), name


def test_the_driver_of_postgresql_comes_with_lakebase_alone() -> None:
    assert "psycopg2-binary" in pins(channel.packages(parsed(mlflow=HERE, backend="lakebase")).requirements)
    assert "psycopg2-binary" not in pins(channel.packages(parsed(mlflow=HERE)).requirements)


def test_latest_is_a_version_by_the_time_it_is_written(index: PackageIndex) -> None:
    index.add_mlflow(HERE, f"{Version(HERE).major}.0.1")
    found = channel.packages(parsed(), Sources(index=Index(index.url)))
    assert found.mlflow == HERE
    assert f"mlflow=={HERE}" in found.requirements


def test_a_version_this_package_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match=r"MLflow 2\.20\.0 can't be the app's"):
        channel.packages(parsed(mlflow="2.20.0"))


def test_another_index_is_named_for_everything() -> None:
    found = channel.packages(parsed(mlflow=HERE, package={"index": "https://packages.example.org/simple"}))
    assert "--index-url https://packages.example.org/simple" in found.requirements


def test_from_the_test_index_one_wheel_comes_by_address_and_digest(index: PackageIndex) -> None:
    index.add("mlflow-migration", OURS, "99.0")
    sources = Sources(test_index=Index(index.url))
    lines = channel.packages(parsed(mlflow=HERE, package={"test_index": True}), sources).requirements
    own = pins(lines)["mlflow-migration"]
    name = f"mlflow_migration-{OURS}-py3-none-any.whl"
    assert (own.url or "").startswith(index.url.replace("simple/", f"files/mlflow-migration/{name}#sha256="))
    assert not [line for line in lines if line.startswith("-")]


def test_what_the_test_index_does_not_have_is_said(index: PackageIndex) -> None:
    index.add("mlflow-migration", "99.0")
    sources = Sources(test_index=Index(index.url))
    configured = parsed(mlflow=HERE, package={"test_index": True})
    with pytest.raises(NotFoundError, match=f"no wheel of mlflow-migration {OURS}"):
        channel.packages(configured, sources)
    assert f"has no mlflow-migration {OURS}" in channel.missing(configured, sources)


def test_a_wheel_lies_beside_the_requirements(tmp_path: Path) -> None:
    path = tmp_path / f"mlflow_migration-{OURS}-py3-none-any.whl"
    path.write_bytes(wheel({"x.py": b""}))
    configured = parsed(mlflow=HERE, package={"wheel": str(path)})
    found = channel.packages(configured)
    assert f"./{path.name}" in found.requirements
    assert found.files == {path.name: path.read_bytes()}
    assert channel.missing(configured) == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mlflow_migration-99.0-py3-none-any.whl", "both have to be one"),
        (f"other-{OURS}-py3-none-any.whl", "both have to be one"),
        ("something.whl", "is not a wheel"),
        (f"mlflow_migration-{OURS}-py3-none-any.whl", "can't read"),
    ],
)
def test_a_wheel_that_cannot_be_the_app_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        channel.packages(parsed(mlflow=HERE, package={"wheel": str(tmp_path / name)}))


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A small MLflow in a repository, where GitHub would have it."""
    folder = tmp_path / "github" / "ann" / "mlflow.git"
    js = folder / "mlflow" / "server" / "js"
    js.mkdir(parents=True)
    (folder / "mlflow" / "__init__.py").write_text("")
    (folder / "mlflow" / "version.py").write_text('VERSION = "3.17.3.dev0"\n')
    build = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    about = '[project]\nname = "{}"\nversion = "3.17.3.dev0"\ndependencies = ["Flask<4", "databricks-sdk<1"]\n'
    packages = '[tool.setuptools.packages.find]\ninclude = ["mlflow*"]\n'
    (folder / "pyproject.toml").write_text(build + about.format("mlflow") + packages)
    for part in ("skinny", "tracing"):
        (folder / "libs" / part).mkdir(parents=True)
        (folder / "libs" / part / "pyproject.toml").write_text(build + about.format(f"mlflow-{part}") + packages)
        (folder / "libs" / part / "mlflow").symlink_to("../../mlflow")
    steps = "mkdir -p build/static && echo 'of the branch' > build/index.html && echo '{}' > build/static/a.js.map"
    (js / "package.json").write_text(json.dumps({"name": "pages", "version": "1.0.0", "scripts": {"build": steps}}))
    lock = {"name": "pages", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": {}}
    (js / "package-lock.json").write_text(json.dumps(lock))
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    git(folder, "checkout", "--quiet", "-b", "feature/pages")
    return folder


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    """The pages, put together by plain means."""
    (folder / "whole.zip").write_bytes(b"".join(files[name] for name in sorted(files)))
    shutil.unpack_archive(folder / "whole.zip", folder / "pages")
    return folder / "pages"


def release(index: PackageIndex, *versions: str) -> None:
    index.add_mlflow(*versions)
    for version in versions:
        pages = {f"mlflow/server/js/build/{name}": PAGES + version.encode() for name in ("index.html", "a.js.map")}
        index.projects["mlflow"][f"mlflow-{version}-py3-none-any.whl"] = wheel({**pages, "mlflow/x.py": b""})


@pytest.mark.slow
def test_a_branch_is_pinned_to_its_commit_with_all_its_parts(fork: Path, index: PackageIndex, tmp_path: Path) -> None:
    release(index, "3.17.1", "3.18.0")
    sources = Sources(index=Index(index.url), github=(tmp_path / "github").as_uri())
    found = channel.packages(parsed(mlflow={"git": "ann/feature/pages"}), sources)
    commit, where = git(fork, "rev-parse", "HEAD"), f"git+{sources.github}/ann/mlflow.git"
    named = pins(found.requirements)
    assert named["mlflow"].url == f"{where}@{commit}"
    assert named["mlflow-skinny"].url == f"{where}@{commit}#subdirectory=libs/skinny"
    assert named["mlflow-tracing"].url == f"{where}@{commit}#subdirectory=libs/tracing"
    assert [each.operator for each in named["flask"].specifier] == ["=="]
    assert commit[:12] in found.notes[0]
    assert set(found.files) == {"mlflow_ui/pages.zip.001"}


def test_the_pages_of_a_branch_are_built_where_there_is_node(fork: Path, index: PackageIndex, tmp_path: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node, which this machine doesn't have")
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    found = git_ui.pages(source, Index(index.url))
    pages = unpacked(dict(found.files), tmp_path)
    assert (pages / "index.html").read_text() == "of the branch\n"
    assert not list(pages.rglob("*.map"))
    assert source.commit[:12] in found.note


def test_a_branch_is_built_by_its_own_yarn_from_this_machines_registry_without_its_credentials(
    fork: Path, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own repository names a registry that only its authors reach (.yarnrc.yml of November 2025)."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node, which this machine doesn't have")
    js = fork / "mlflow" / "server" / "js"
    (js / ".yarnrc.yml").write_text("npmRegistryServer: https://registry.inside.example\nyarnPath: yarn/yarn.cjs\n")
    (js / "yarn").mkdir()
    (js / "yarn" / "yarn.cjs").write_text(YARN)
    git(fork, "add", ".")
    git(fork, "commit", "--quiet", "--message", "yarn")
    monkeypatch.setenv("npm_config_registry", "https://npm.example.org/")
    for name in ("DATABRICKS_TOKEN", "GITHUB_TOKEN", "NPM_TOKEN"):
        monkeypatch.setenv(name, name.lower())
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    pages = unpacked(dict(git_ui.pages(source, Index(index.url)).files), tmp_path)
    said = (pages / "index.html").read_text().split("; ")
    assert said == ["install --immutable", "run build of https://npm.example.org/", "knows ,,npm_token"]


@pytest.mark.parametrize(
    ("releases", "taken"), [(["3.16.0", "3.17.1", "3.18.0"], "3.17.1"), (["3.18.0"], "3.18.0"), (["3.17.3"], "3.17.3")]
)
def test_without_a_build_the_pages_are_those_of_the_nearest_release(
    fork: Path, index: PackageIndex, tmp_path: Path, releases: list[str], taken: str
) -> None:
    release(index, *releases)
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    shutil.rmtree(source.folder / "mlflow" / "server" / "js")
    found = git_ui.pages(source, Index(index.url))
    pages = unpacked(dict(found.files), tmp_path)
    assert (pages / "index.html").read_bytes() == PAGES + taken.encode()
    assert not list(pages.rglob("*.map"))
    assert found.note.startswith(f"MLflow's pages are those of release {taken}: ")
    assert "has no mlflow/server/js/package.json" in found.note


def test_without_node_the_report_says_so(
    fork: Path, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(index, "3.17.1")
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "this machine has no Node" in git_ui.pages(source, Index(index.url)).note


def test_a_build_that_fails_says_why_and_the_release_helps_out(fork: Path, index: PackageIndex, tmp_path: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node, which this machine doesn't have")
    release(index, "3.17.1")
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    package = source.folder / "mlflow" / "server" / "js" / "package.json"
    package.write_text(package.read_text().replace("mkdir -p build", "echo no such module >&2; exit 1; mkdir"))
    note = git_ui.pages(source, Index(index.url)).note
    assert "release 3.17.1: the build of the branch's own failed" in note


def test_a_branch_that_is_not_there_is_named(fork: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="branch nothing"):
        git_ui.checkout(str(fork), "nothing", tmp_path / "clone")


def test_a_repository_that_is_not_mlflow_is_refused(fork: Path, tmp_path: Path) -> None:
    git(fork, "rm", "--quiet", "mlflow/version.py")
    git(fork, "commit", "--quiet", "--message", "no version")
    with pytest.raises(UsageError, match="is not MLflow's"):
        git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")


def test_a_branch_whose_version_is_none_is_refused(fork: Path, tmp_path: Path) -> None:
    (fork / "mlflow" / "version.py").write_text('VERSION = "not a version"\n')
    git(fork, "commit", "--quiet", "--all", "--message", "another version")
    with pytest.raises(UsageError, match="is not MLflow's"):
        git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")


def test_large_pages_go_in_pieces_the_platform_takes_and_are_the_same_each_time() -> None:
    content = os.urandom(20 * 1024**2)
    made = git_ui.pieces({"index.html": b"x", "static/big.js": content, "static/big.js.map": content})
    assert len(made) == 3
    assert max(map(len, made.values())) < 10 * 1024**2
    assert made == git_ui.pieces({"static/big.js": content, "index.html": b"x"})


@pytest.mark.slow
@pytest.mark.parametrize("version", ["latest", "3.10.0"])
def test_pip_finds_all_that_is_pinned_and_nothing_that_contradicts(tmp_path: Path, version: str) -> None:
    """With an environment's own pip, for the platform's Python; this package itself is on no index here."""
    lines = channel.packages(parsed(mlflow=version, backend="lakebase")).requirements
    file, report = tmp_path / "requirements.txt", tmp_path / "report.json"
    file.write_text("\n".join(line for line in lines if not line.startswith("mlflow-migration")))
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--only-binary"]
    words += [":all:", "--python-version", "3.11", "--target", str(tmp_path / "x"), "--report", str(report)]
    words += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64", "-r", str(file)]
    words += ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = [each["metadata"]["name"] for each in json.loads(report.read_text())["install"]]
    installed = {name.lower().replace("_", "-") for name in names}
    assert installed == {name.replace("_", "-") for name in pins(lines)} - {"mlflow-migration"}


def test_versions_that_do_not_fit_are_told_in_pips_words() -> None:
    with pytest.raises(UsageError, match="no versions fit together"):
        channel.packages(parsed(mlflow="3.99.0"))


def test_the_files_are_written_by_the_command(run_tool: Tool, tmp_path: Path) -> None:
    run_tool("app", "init", "--name", "trial", "--volume", "/Volumes/main/ml/app", "--mlflow", HERE)
    done = run_tool("app", "render", "--output-dir", tmp_path / "out", "--json")
    found = json.loads(done.stdout)
    assert (found["mlflow"], found["ok"]) == (HERE, True)
    assert f"mlflow=={HERE}\n" in (tmp_path / "out" / "requirements.txt").read_text()


@pytest.mark.slow
def test_a_deployed_app_shows_the_pages_that_were_built_of_its_branch(
    fork: Path, index: PackageIndex, tmp_path: Path, databricks_account: AccountFactory
) -> None:
    """The emulator installs nothing: MLflow itself is the one beside these tests, its pages are the branch's."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node, which this machine doesn't have")
    release(index, HERE)
    # The emulator looks versions up among what is installed here.
    installed = channel.packages(parsed(mlflow=HERE))
    source = git_ui.checkout(str(fork), "feature/pages", tmp_path / "clone")
    packages = replace(installed, files=git_ui.pages(source, Index(index.url)).files)
    made = trial(databricks_account().workspace("a", metastore="m1"))
    making = Making(lambda config: packages, render, lambda config: "")
    outcome = deploy(made.place(), configured(), replace(made.options(), making=making, seconds=180.0, first=0.5))
    assert outcome.failure is None, outcome.rows
    assert set(made.files(f"{made.source}/mlflow_ui")) == {"pages.zip.001"}
    headers = {"Authorization": f"Bearer {made.workspace.account.issue(ADMIN)[0]}"}
    assert requests.get(made.app()["url"], headers=headers, timeout=60).text == "of the branch\n"
