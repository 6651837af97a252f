"""What gets to a package index: one version, of a tree that is committed, with every file the package needs."""

import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from mlflow_migration.apps.versions import Index
from release.__main__ import PROJECT, ROOT, faults, version_of
from tests.apps.package_index import PackageIndex, serving
from tests.conftest import Tool


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex()) as index:
        yield index


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a version, all committed."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "mlflow-migration"\nversion = "1.2.3"\n')
    who = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*who, *words], cwd=folder, check=True)
    return folder


def test_a_committed_tree_with_a_new_version_can_be_published(tree: Path, index: PackageIndex) -> None:
    assert list(faults(tree, Index(index.url))) == []
    index.add(PROJECT, "1.2.2")
    assert list(faults(tree, Index(index.url))) == []


def test_a_version_the_index_has_is_refused(tree: Path, index: PackageIndex) -> None:
    index.add(PROJECT, "1.2.3")
    assert "has version 1.2.3 already" in " ".join(faults(tree, Index(index.url)))


def test_a_tree_with_changes_is_refused(tree: Path, index: PackageIndex) -> None:
    (tree / "new.py").write_text("")
    assert list(faults(tree, Index(index.url))) == ["the tree has changes that are not committed: new.py"]


def test_a_tree_without_history_is_refused(tmp_path: Path, index: PackageIndex) -> None:
    (tmp_path / "pyproject.toml").write_text('version = "1.2.3"\n')
    assert "is no git repository" in " ".join(faults(tmp_path, Index(index.url)))


def test_one_place_holds_the_version(run_tool: Tool) -> None:
    version = version_of(ROOT)
    assert metadata.version(PROJECT) == version
    assert run_tool("--version").stdout.split()[-1] == version
    holders = [
        path for path in (ROOT / "mlflow_migration").rglob("*.py") if f'"{version}"' in path.read_text(encoding="utf-8")
    ]
    assert holders == []


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("build") and importlib.util.find_spec("twine")),
    reason="needs build and twine, which the extra `dev` brings along",
)
def test_a_version_is_built_checked_and_uploaded_with_the_credentials_of_twine(
    tmp_path: Path, index: PackageIndex
) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
    path = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH", ""))))
    env = {**os.environ, "PYTHONPATH": path, "TWINE_USERNAME": "ann", "TWINE_PASSWORD": "swordfish"}
    words = ["publish", "--index", index.url, "--repository-url", index.url]
    done = subprocess.run(
        [sys.executable, "-m", "release", *words], cwd=tree, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    version = version_of(tree)
    names = [f"mlflow_migration-{version}{end}" for end in ("-py3-none-any.whl", ".tar.gz")]
    assert sorted(index.uploaded) == names
    assert "swordfish" not in done.stdout + done.stderr
    index.add(PROJECT, version)
    again = subprocess.run(
        [sys.executable, "-m", "release", *words], cwd=tree, env=env, check=False, capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "already" in again.stderr
    assert len(index.uploaded) == 2


@pytest.mark.slow
def test_a_wheel_has_every_file_of_the_package_and_runs_in_an_environment_of_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True)
    (path,) = tmp_path.glob("*.whl")
    listed = ["git", "ls-files", "mlflow_migration"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    with zipfile.ZipFile(path) as archive:
        assert set(files) <= set(archive.namelist())
    assert "mlflow_migration/apps/runtime/__main__.py" in files
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    # This tree in PYTHONPATH would count as installed.
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(path)], check=True, env=outside)
    # What it needs is what is installed beside these tests.
    (own,) = (tmp_path / "env" / "lib").glob("*/site-packages")
    (own / "needs.pth").write_text(f"{Path(str(metadata.distribution('mlflow').locate_file('')))}\n")
    (tmp_path / "work").mkdir()
    ran = subprocess.run(
        [str(Path(python).with_name("mlflow-migration")), "app", "init", "--name", "trial", "--volume", "/srv/mlflow"],
        cwd=tmp_path / "work",
        check=True,
        capture_output=True,
        text=True,
        env={},
    )
    assert "written: mlflow-app.yml" in ran.stdout
    where = [python, "-c", "import mlflow_migration; print(mlflow_migration.__file__)"]
    found = subprocess.run(where, cwd=tmp_path / "work", check=True, capture_output=True, text=True, env={}).stdout
    assert str(own) in found
    started = [python, "-m", "mlflow_migration.apps.runtime"]
    assert subprocess.run(started, cwd=tmp_path, capture_output=True, check=False, env={}).returncode == 2
