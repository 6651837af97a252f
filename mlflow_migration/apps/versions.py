"""What a package index has: versions and files, by the simple API of PEP 503 (HTML) and PEP 691 (JSON).

The index is the one pip is configured with, so that a deployment finds what `pip install` finds.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit, urlunsplit

import requests
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from mlflow_migration.errors import AccessError, NotFoundError, UsageError

PYPI = "https://pypi.org/simple/"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
SECONDS = 30
PYTHON = "3.11"
"""What installs `requirements.txt` on Databricks Apps (their page "Databricks Apps environment")."""


@dataclass(frozen=True)
class Index:
    """An index's address, and the file of certificates to trust ("" for those of the system)."""

    url: str = PYPI
    cert: str = ""

    @property
    def shown(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True)
class File:
    """A file of a release. `sha256` is "" where the index doesn't tell it."""

    name: str
    url: str
    version: Version
    requires_python: str
    yanked: bool
    sha256: str

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")


@dataclass(frozen=True)
class Release:
    """A version with its files."""

    version: Version
    files: tuple[File, ...]

    @property
    def yanked(self) -> bool:
        """Whether it was withdrawn: every file of it."""
        return all(file.yanked for file in self.files)

    @property
    def requires_python(self) -> str:
        return next((file.requires_python for file in self.files if file.requires_python), "")

    def runs_on(self, python: str) -> bool:
        """Whether any of its files is for that Python."""
        return any(_allows(file.requires_python, python) for file in self.files)


def configured(environment: Mapping[str, str] = os.environ) -> Index:
    """The index pip is configured with; PyPI where it is configured with none, or isn't there.

    Raises UsageError where pip can't read its own configuration.
    """
    told = _of_pip() if importlib.util.find_spec("pip") else {}
    url = environment.get("PIP_INDEX_URL") or told.get("index-url") or PYPI
    return Index(url.rstrip("/") + "/", environment.get("PIP_CERT") or told.get("cert", ""))


def releases(project: str, index: Index) -> list[Release]:
    """Every version of a project, newest first.

    Raises AccessError where the index can't be reached or refuses, NotFoundError where it has no such project,
    UsageError where what answers is no index.
    """
    with _session(index) as session:
        answer = _get(session, urljoin(index.url, f"{canonicalize_name(project)}/"), index)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.endswith("json"):
        found = _of_json(answer, index)
    elif kind.endswith("html"):
        found = _of_html(answer)
    else:
        raise UsageError(f"{index.shown} is no package index", f"it answers with {kind or 'nothing known'}")
    files: dict[Version, list[File]] = {}
    for file in found:
        files.setdefault(file.version, []).append(file)
    return [Release(version, tuple(files[version])) for version in sorted(files, reverse=True)]


def stable(found: Iterable[Release]) -> list[Release]:
    """Without pre-releases and withdrawn ones."""
    return [each for each in found if not each.version.is_prerelease and not each.yanked]


def fitting(found: Iterable[Release], specifier: str, python: str = PYTHON) -> list[Release]:
    """The stable ones in a range that run on a Python."""
    wanted = SpecifierSet(specifier)
    return [each for each in stable(found) if each.version in wanted and each.runs_on(python)]


def fetch(file: File, index: Index) -> bytes:
    """A file's bytes. Raises AccessError, NotFoundError; UsageError where they aren't those the index told of."""
    import hashlib

    with _session(index) as session:
        content = _get(session, file.url, index).content
    if file.sha256 and hashlib.sha256(content).hexdigest() != file.sha256:
        raise UsageError(f"{file.name} is not what {index.shown} tells of", "its SHA-256 is another one")
    return content


def _session(index: Index) -> requests.Session:
    session = requests.Session()
    retry = Retry(3, backoff_factor=0.2, status_forcelist=(429, 502, 503, 504), raise_on_status=False)
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    if index.cert:
        session.verify = index.cert
    return session


def _get(session: requests.Session, url: str, index: Index) -> requests.Response:
    try:
        answer = session.get(url, headers={"Accept": ACCEPT}, timeout=SECONDS)
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
        raise UsageError(f"{index.shown} is no address of a package index", hint="it begins with https://") from error
    except (requests.RequestException, OSError) as error:
        # The exception's own words hold the address, and with it a password.
        raise AccessError(f"can't reach the package index {index.shown}", type(error).__name__) from error
    if answer.status_code == requests.codes.not_found:
        raise NotFoundError(f"{index.shown} has no {urlsplit(url).path.rstrip('/').rpartition('/')[2]}")
    if not answer.ok:
        raise AccessError(f"the package index {index.shown} refuses", f"HTTP {answer.status_code} {answer.reason}")
    return answer


def _of_json(answer: requests.Response, index: Index) -> list[File]:
    try:
        listed: list[dict[str, Any]] = answer.json()["files"]
        found = []
        for each in listed:
            hashes = each.get("hashes") or {}
            told = (each.get("requires-python") or "", bool(each.get("yanked")), hashes.get("sha256", ""))
            found.append(_file(each["filename"], urljoin(answer.url, each["url"]), told))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{index.shown} is no package index", "its JSON has no files") from error
    return [file for file in found if file]


class _Anchors(HTMLParser):
    """The links of a project's page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._open: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open = dict(attrs)

    def handle_data(self, data: str) -> None:
        if self._open is not None and data.strip():
            self.found.append((self._open, data.strip()))
            self._open = None


def _of_html(answer: requests.Response) -> list[File]:
    anchors = _Anchors()
    anchors.feed(answer.text)
    found = []
    for attributes, name in anchors.found:
        url, fragment = urldefrag(urljoin(answer.url, attributes.get("href") or ""))
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        told = (attributes.get("data-requires-python") or "", "data-yanked" in attributes, sha256)
        found.append(_file(name, url, told))
    return [file for file in found if file]


def _file(name: str, url: str, told: tuple[str, bool, str]) -> File | None:
    """None for files that are neither wheel nor source archive, such as the eggs of old releases."""
    try:
        version = parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return File(name, url, version, *told)


def _allows(requires_python: str, python: str) -> bool:
    try:
        return Version(f"{python}.99") in SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True  # as pip does: what nobody can read excludes nothing


def _of_pip() -> dict[str, str]:
    """What pip's configuration says: of its files, and of `install` before `global`."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError("pip can't read its configuration", done.stderr.strip()[-300:], "pip config debug")
    told: dict[str, str] = {}
    for section in ("global.", "install."):
        for line in done.stdout.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(section):
                told[key.removeprefix(section)] = "".join(shlex.split(value))
    return told
