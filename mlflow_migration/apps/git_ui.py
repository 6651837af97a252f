"""MLflow from a git branch: its checkout, and its pages, which a repository holds only as source.

Where this machine has Node the branch's own pages are built; else those of the nearest release are taken out of its
wheel. They go into the app as pieces of one archive: a platform that refuses large files takes pieces.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.version import InvalidVersion, Version

from mlflow_migration.apps import versions
from mlflow_migration.apps.config import SECRET
from mlflow_migration.apps.render import UI_FOLDER
from mlflow_migration.apps.versions import Index, Release
from mlflow_migration.errors import AccessError, NotFoundError, UsageError

SOURCE = "mlflow/server/js"
BUILD = f"{SOURCE}/build/"
PIECE = 8 * 1024**2
CLONE_SECONDS, BUILD_SECONDS = 600, 3600
CREDENTIALS = ("DATABRICKS_", "MLFLOW_", "AWS_", "AZURE_", "ARM_", "GOOGLE_", "PG", "TWINE_")
BUILDERS = ("npm_config_", "NPM_", "YARN_", "NODE_", "COREPACK_", "PIP_")
"""What installs packages may need its own tokens."""
_VERSION = re.compile(r"^VERSION\s*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """A branch on this machine: its folder, its commit, MLflow's version in it, and where it came from."""

    folder: Path
    commit: str
    version: Version
    repository: str


@dataclass(frozen=True)
class Pages:
    """Files beside `app.yaml` that hold MLflow's pages, and where these are from, in a sentence."""

    files: Mapping[str, bytes]
    note: str


class _BuildError(Exception):
    """The pages of a branch can't be built; the message says why."""


def checkout(repository: str, branch: str, folder: Path) -> Checkout:
    """Clone the newest commit of a branch into `folder`.

    Raises UsageError where this machine has no git or the branch isn't MLflow's, NotFoundError where there is no such
    repository or branch, AccessError where the clone doesn't end.
    """
    if not shutil.which("git"):
        raise UsageError("no git on this machine", f"to read {repository}", "install it, or give a version of MLflow")
    words = ["git", "clone", "--quiet", "--depth", "1", "--single-branch", "--branch", branch, "--", repository]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = _run([*words, str(folder)], folder.parent, environment, CLONE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AccessError(f"can't read {repository}", f"the clone isn't done after {CLONE_SECONDS} s") from error
    if done.returncode:
        raise NotFoundError(f"can't read branch {branch} of {repository}", _last(done.stderr), "check mlflow: git: …")
    commit = _run(["git", "rev-parse", "HEAD"], folder, environment, CLONE_SECONDS).stdout.strip()
    told = folder / "mlflow" / "version.py"
    found = _VERSION.search(told.read_text(encoding="utf-8", errors="replace")) if told.is_file() else None
    try:
        version = Version(found[1]) if found else None
    except InvalidVersion:
        version = None
    if version is None:
        raise UsageError(f"branch {branch} of {repository} is not MLflow's", "it has no version in mlflow/version.py")
    return Checkout(folder, commit, version, repository)


def pages(source: Checkout, index: Index) -> Pages:
    """The pages for a branch: its own where they can be built, else the nearest release's.

    Raises AccessError, NotFoundError, UsageError of the package index.
    """
    if not shutil.which("node"):
        return _of_release(source, index, "this machine has no Node to build the branch's own")
    try:
        built = build(source)
    except _BuildError as error:
        return _of_release(source, index, f"the build of the branch's own failed: {error}")
    files = {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    return Pages(pieces(files), f"MLflow's pages were built of commit {source.commit[:12]}")


def build(source: Checkout) -> Path:
    """Build the pages; returns their folder. Runs what the branch's own package.json says."""
    folder = source.folder / SOURCE
    if not (folder / "package.json").is_file():
        raise _BuildError(f"it has no {SOURCE}/package.json")
    install, make = _steps(folder)
    environment = {**for_foreign_code(os.environ), "GENERATE_SOURCEMAP": "false", "CI": "false", **_registry(folder)}
    for words in (install, make):
        try:
            done = _run(words, folder, environment, BUILD_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise _BuildError(f"{' '.join(words[-2:])} isn't done after {BUILD_SECONDS} s") from error
        if done.returncode:
            raise _BuildError(f"{' '.join(words[-2:])}: {_last(done.stderr or done.stdout)}")
    if not (folder / "build" / "index.html").is_file():
        raise _BuildError("it left no build/index.html")
    return folder / "build"


def for_foreign_code(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for what a branch brings along to be run: without this machine's credentials."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(BUILDERS) or not (name.startswith(CREDENTIALS) or SECRET.search(name))
    }


def nearest(version: Version, found: Sequence[Release]) -> Release:
    """The release of a version in development, or the last before it, or the first after it; `found` isn't empty."""
    wanted = Version(version.base_version)
    ordered = sorted(found, key=lambda release: release.version)
    before = [release for release in ordered if release.version <= wanted]
    return before[-1] if before else ordered[0]


def pieces(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same archive for the same files, in pieces the platform takes; source maps stay out."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(name for name in files if not name.endswith(".map")):
            # Without a date: a second rendering has nothing new to upload.
            archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
    whole = held.getvalue()
    starts = range(0, len(whole), PIECE)
    return {f"{UI_FOLDER}/pages.zip.{number:03}": whole[at : at + PIECE] for number, at in enumerate(starts, 1)}


def _of_release(source: Checkout, index: Index, why: str) -> Pages:
    found = versions.stable(versions.releases("mlflow", index))
    wheels = [release for release in found if any(file.is_wheel for file in release.files)]
    if not wheels:
        raise NotFoundError(f"{index.shown} has no wheel of MLflow to take its pages from")
    release = nearest(source.version, wheels)
    wheel = next(file for file in release.files if file.is_wheel)
    with zipfile.ZipFile(io.BytesIO(versions.fetch(wheel, index))) as archive:
        names = [name for name in archive.namelist() if name.startswith(BUILD) and not name.endswith("/")]
        files = {name.removeprefix(BUILD): archive.read(name) for name in names}
    if "index.html" not in files:
        raise NotFoundError(f"{wheel.name} holds no pages of MLflow")
    return Pages(pieces(files), f"MLflow's pages are those of release {release.version}: {why}")


def _steps(folder: Path) -> tuple[list[str], list[str]]:
    """What installs and what builds: the yarn that the repository brings along, else what its lock file is of."""
    own = _yarn_rc(folder).get("yarnPath")
    if own and (folder / str(own)).is_file():
        yarn = ["node", str(own)]
    elif (folder / "package-lock.json").is_file():
        return ["npm", "ci"], ["npm", "run", "build"]
    else:
        yarn = ["yarn"] if shutil.which("yarn") else ["corepack", "yarn"]
    return [*yarn, "install", "--immutable"], [*yarn, "run", "build"]


def _registry(folder: Path) -> dict[str, str]:
    """A repository may name a registry that only its authors reach: this machine's own is used in its place."""
    if "npmRegistryServer" not in _yarn_rc(folder) or "YARN_NPM_REGISTRY_SERVER" in os.environ:
        return {}
    if not shutil.which("npm"):
        return {"YARN_NPM_REGISTRY_SERVER": "https://registry.npmjs.org"}
    # Outside the repository, whose own .npmrc would answer.
    done = _run(["npm", "config", "get", "registry"], Path.home(), os.environ, CLONE_SECONDS)
    return {"YARN_NPM_REGISTRY_SERVER": done.stdout.strip()} if done.stdout.strip().startswith("http") else {}


def _yarn_rc(folder: Path) -> dict[str, object]:
    path = folder / ".yarnrc.yml"
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise _BuildError(f".yarnrc.yml is no YAML: {' '.join(str(error).split())[:200]}") from error
    return found if isinstance(found, dict) else {}


def _run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """A program's run, to its end. One that isn't there counts as one that failed."""
    try:
        return subprocess.run(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is not installed")


def _last(text: str) -> str:
    """The last words of a program, without passwords of addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"://[^/@\s]+@", "://", " ".join(lines[-2:]))[-300:]
