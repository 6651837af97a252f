"""What an app installs: this package from its channel, MLflow, and everything they need, each at one version.

All versions stand in `requirements.txt`, so that what the platform has installed already is replaced, the same
files make the same app next month, and the deployment before this one can be gone back to.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from mlflow_migration.apps import git_ui, versions
from mlflow_migration.apps.config import AppConfig, Git
from mlflow_migration.apps.render import Packages
from mlflow_migration.apps.versions import PYTHON, Index
from mlflow_migration.errors import AccessError, NotFoundError, StorageError, UsageError

PROJECT = "mlflow-migration"
MLFLOW = ("mlflow", "mlflow-skinny", "mlflow-tracing")
"""One repository makes these three, at one version; they share the folder `mlflow`, so all come from one place."""
FOLDERS = {"mlflow": "", "mlflow-skinny": "libs/skinny", "mlflow-tracing": "libs/tracing"}
SUPPORTED = ">=3.10,<4"
PREINSTALLED = ("databricks-sdk", "mlflow-skinny", "fastapi", "uvicorn", "flask", "gunicorn")
"""What Databricks Apps has installed already, at old versions: each has to have a line of its own."""
GLIBC = range(17, 36)
"""The platform is Ubuntu 22.04, which has glibc 2.35."""
TEST_INDEX = Index("https://test.pypi.org/simple/")
RESOLVE_SECONDS = 900


@dataclass(frozen=True)
class Sources:
    """Where things are taken from: package indexes, and where forks of MLflow are. The defaults are the public ones.

    `index` is for MLflow and everything else: by default what the configuration names, or pip is configured with.
    """

    index: Index | None = None
    test_index: Index = TEST_INDEX
    github: str = "https://github.com"


def version() -> str:
    """This package's version: `pyproject.toml` holds it, the installed package tells it."""
    return metadata.version(PROJECT)


def packages(config: AppConfig, sources: Sources | None = None) -> Packages:
    """What a configuration's app installs.

    Raises UsageError, NotFoundError or AccessError where a version, a branch or a file isn't there, doesn't fit this
    package, or can't be reached.
    """
    sources = sources or Sources()
    index = _index(config, sources)
    own, files = _own(config, sources)
    head = ["# Made by mlflow-migration app: every version is pinned.", *_options(config), own]
    if isinstance(config.mlflow, Git):
        made = _of_branch(config, config.mlflow, sources)
        return replace(made, requirements=(*head, *made.requirements), files={**files, **made.files})
    chosen = chosen_version(config.mlflow, index)
    roots = [f"mlflow=={chosen}", *_needs(config)]
    pins = _installed(chosen, roots) or _resolved(roots, config.package.index)
    return Packages(chosen, (*head, *_lines(pins)), files)


def chosen_version(wanted: str, index: Index) -> str:
    """A version of MLflow as it is, or the newest that fits for `latest`. Raises UsageError, NotFoundError."""
    if wanted != "latest":
        if not Requirement(f"mlflow{SUPPORTED}").specifier.contains(wanted, prereleases=True):
            raise UsageError(f"MLflow {wanted} can't be the app's", f"the app needs {SUPPORTED}", "app versions")
        return wanted
    # A release of one of them alone is still on its way, to the index or to its mirror.
    fitting = [
        {release.version for release in versions.fitting(versions.releases(name, index), SUPPORTED)} for name in MLFLOW
    ]
    found = set.intersection(*fitting)
    if not found:
        raise NotFoundError(f"{index.shown} has no MLflow {SUPPORTED} for Python {PYTHON}")
    return str(max(found))


def missing(config: AppConfig, sources: Sources | None = None) -> str:
    """Why the app couldn't install this package from its index; "" where it can. Raises AccessError."""
    if config.package.wheel:
        return ""
    index = (sources or Sources()).test_index if config.package.test_index else _index(config, sources or Sources())
    try:
        found = any(release.version == Version(version()) for release in versions.releases(PROJECT, index))
    except NotFoundError:
        found = False
    return "" if found else f"{index.shown} has no {PROJECT} {version()}: publish it, or deploy a wheel (make build)"


def _index(config: AppConfig, sources: Sources) -> Index:
    if sources.index:
        return sources.index
    return Index(config.package.index.rstrip("/") + "/") if config.package.index else versions.configured()


def _options(config: AppConfig) -> list[str]:
    return [f"--index-url {config.package.index}"] if config.package.index else []


def _own(config: AppConfig, sources: Sources) -> tuple[str, dict[str, bytes]]:
    """The line for this package, and the files it names."""
    if config.package.wheel:
        return _wheel(Path(config.package.wheel))
    if not config.package.test_index:
        return f"{PROJECT}=={version()}", {}
    # By address and digest: as a second index it could bring other projects' files in under any name.
    for release in versions.releases(PROJECT, sources.test_index):
        for file in release.files:
            if file.is_wheel and str(release.version) == version():
                digest = f"#sha256={file.sha256}" if file.sha256 else ""
                return f"{PROJECT} @ {file.url}{digest}", {}
    raise NotFoundError(f"{sources.test_index.shown} has no wheel of {PROJECT} {version()}", hint="make publish TEST=1")


def _wheel(path: Path) -> tuple[str, dict[str, bytes]]:
    try:
        name, found, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise UsageError(f"{path} is not a wheel", str(error), "make build") from error
    if name != PROJECT or str(found) != version():
        why = f"it is {name} {found}; what deploys is {PROJECT} {version()}, and both have to be one"
        raise UsageError(f"{path} can't be the app's", why, "make build")
    try:
        return f"./{path.name}", {path.name: path.read_bytes()}
    except OSError as error:
        raise UsageError(f"can't read {path}", error.strerror or str(error), "make build") from error


def _needs(config: AppConfig) -> list[str]:
    """What this package needs itself, and the backend beside MLflow."""
    declared = [Requirement(line) for line in metadata.requires(PROJECT) or ()]
    own = [str(each) for each in declared if not each.marker or "extra" not in str(each.marker)]
    return [*own, *(["psycopg2-binary>=2.9,<3"] if config.backend == "lakebase" else [])]


def _lines(pins: dict[str, str]) -> list[str]:
    return [f"{name}=={pins[name]}" for name in sorted(pins)]


def _of_branch(config: AppConfig, git: Git, sources: Sources) -> Packages:
    repository, branch = git.repository_at(sources.github), git.branch
    with _temporary() as folder:
        source = git_ui.checkout(repository, branch, folder / "mlflow")
        if not Requirement(f"mlflow{SUPPORTED}").specifier.contains(source.version.base_version):
            raise UsageError(f"MLflow {source.version} of {branch} can't be the app's", f"the app needs {SUPPORTED}")
        lines, roots = [], []
        for name, inside in FOLDERS.items():
            if (source.folder / inside / "pyproject.toml").is_file():
                part = f"#subdirectory={inside}" if inside else ""
                lines.append(f"{name} @ git+{repository}@{source.commit}{part}")
                roots.append(f"{name} @ {(source.folder / inside).as_uri()}")
        pins = _resolved([*roots, *_needs(config)], config.package.index)
        pages = git_ui.pages(source, _index(config, sources))
    note = f"MLflow {source.version} is commit {source.commit[:12]} of branch {branch} of {repository}"
    own = [*lines, *_lines({name: pin for name, pin in pins.items() if name not in MLFLOW})]
    return Packages(str(source.version), tuple(own), pages.files, (note, pages.note))


def _installed(chosen: str, roots: Sequence[str]) -> dict[str, str]:
    """The versions on this machine, where they are what the app needs and the machine is as the platform's; else {}."""
    alike = sys.platform == "linux" and platform.machine() == "x86_64"
    if not alike or platform.python_version_tuple()[:2] != tuple(PYTHON.split(".")):
        return {}
    if _version_here("mlflow") != chosen:
        return {}
    environment = {key: str(value) for key, value in default_environment().items()}
    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name, extras = str(canonicalize_name(wanted.name)), frozenset(wanted.extras)
        here = _version_here(name)
        if not here or not wanted.specifier.contains(here, prereleases=True):
            return {}
        pins[name] = here
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for each in map(Requirement, metadata.requires(name) or ()):
            marker = each.marker
            if not marker or any(marker.evaluate({**environment, "extra": extra}) for extra in (*extras, "")):
                waiting.append(each)
    return pins


def _version_here(name: str) -> str:
    """The version of what is installed from an index; "" for what isn't, or comes from somewhere else."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return ""
    return "" if found.read_text("direct_url.json") else found.version


def _resolved(roots: Sequence[str], index: str) -> dict[str, str]:
    """What pip would install for these on the platform. Raises UsageError with pip's reason where nothing fits."""
    if not importlib.util.find_spec("pip"):
        hint = "python -m ensurepip, or pip install mlflow at the version the app is to have"
        raise UsageError("this Python has no pip, which finds the versions that fit together", hint=hint)
    with _temporary() as folder:
        report = folder / "report.json"
        words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--no-input"]
        words += ["--disable-pip-version-check", "--report", str(report), "--target", str(folder / "unused")]
        words += ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
        for minor in GLIBC:
            words += ["--platform", f"manylinux_2_{minor}_x86_64"]
        words += ["--platform", "manylinux2014_x86_64", "--platform", "linux_x86_64"]
        words += ["--index-url", index] if index else []
        try:
            done = subprocess.run(
                [*words, *roots], capture_output=True, text=True, timeout=RESOLVE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise AccessError("pip finds no versions", f"it isn't done after {RESOLVE_SECONDS} s") from error
        if done.returncode:
            raise UsageError("no versions fit together", _reason(done.stderr), "app versions lists those of MLflow")
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {str(canonicalize_name(each["metadata"]["name"])): each["metadata"]["version"] for each in found}


def _reason(said: str) -> str:
    """pip's errors; it hides passwords of addresses itself."""
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    return " ".join(lines)[-600:] or said.strip()[-300:]


@contextmanager
def _temporary() -> Iterator[Path]:
    try:
        held = tempfile.TemporaryDirectory(prefix="mlflow-app-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError("can't make a temporary folder", error.strerror or str(error)) from error
    with held as folder:
        yield Path(folder)
