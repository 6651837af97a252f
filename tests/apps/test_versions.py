"""The versions of MLflow an index has: read from a real HTTP server, in both forms an index can have."""

import json
from collections.abc import Iterator

import pytest

from mlflow_migration.apps import versions
from mlflow_migration.apps.versions import Index
from mlflow_migration.errors import AccessError, NotFoundError, UsageError
from tests.apps.package_index import PackageIndex, serving
from tests.conftest import Tool

PIP = {"PIP_CONFIG_FILE": "/dev/null"}


@pytest.fixture(params=[True, False], ids=["json", "html"])
def index(request: pytest.FixtureRequest) -> Iterator[PackageIndex]:
    with serving(PackageIndex(as_json=request.param)) as index:
        index.add_mlflow("3.9.0", "3.10.0", "3.17.2", "3.18.0rc0", "3.17.3", "4.0.0")
        index.yanked.add("mlflow-3.17.3-py3-none-any.whl")
        index.projects["mlflow"]["mlflow-3.17.2.tar.gz"] = b"source"
        index.projects["mlflow"]["mlflow-0.1-py2.7.egg"] = b"egg"
        yield index


def test_versions_are_listed_newest_first_without_what_an_app_cannot_use(run_tool: Tool, index: PackageIndex) -> None:
    done = run_tool("app", "versions", "--index", index.url, "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["version"] for each in found["versions"]] == ["3.17.2", "3.10.0"]
    assert (found["latest"], found["index"]) == ("3.17.2", index.url)


def test_all_versions_are_listed_with_what_is_wrong_with_them(run_tool: Tool, index: PackageIndex) -> None:
    done = run_tool("app", "versions", "--index", index.url, "--all", "--json")
    listed = {each["version"]: (each["prerelease"], each["yanked"]) for each in json.loads(done.stdout)["versions"]}
    assert list(listed) == ["4.0.0", "3.18.0rc0", "3.17.3", "3.17.2", "3.10.0", "3.9.0"]
    assert listed["3.18.0rc0"] == (True, False)
    assert listed["3.17.3"] == (False, True)


def test_the_index_that_pip_is_configured_with_is_the_default(run_tool: Tool, index: PackageIndex) -> None:
    done = run_tool("app", "versions", env={**PIP, "PIP_INDEX_URL": index.url.rstrip("/")})
    assert done.stdout.splitlines()[1].split() == ["3.17.2", ">=3.10", "latest"]


def test_the_index_of_a_pip_configuration_file_is_the_default(run_tool: Tool, index: PackageIndex) -> None:
    run_tool.home.mkdir(parents=True, exist_ok=True)
    (run_tool.home / "pip.conf").write_text(f"[global]\nindex-url = {index.url}\n")
    done = run_tool("app", "versions", "--json", env={"PIP_CONFIG_FILE": str(run_tool.home / "pip.conf")})
    assert json.loads(done.stdout)["index"] == index.url


def test_a_version_for_another_python_is_left_out(index: PackageIndex) -> None:
    index.requires["mlflow-3.17.2-py3-none-any.whl"] = index.requires["mlflow-3.17.2.tar.gz"] = ">=3.12"
    found = versions.fitting(versions.releases("mlflow", Index(index.url)), ">=3.10,<4")
    assert [str(release.version) for release in found] == ["3.10.0"]


def test_latest_waits_for_all_parts_of_a_release(run_tool: Tool, index: PackageIndex) -> None:
    index.add("mlflow", "3.19.0")
    found = json.loads(run_tool("app", "versions", "--index", index.url, "--json").stdout)
    assert (found["versions"][0]["version"], found["latest"]) == ("3.19.0", "3.17.2")


def test_an_index_that_is_busy_is_asked_again(index: PackageIndex) -> None:
    index.broken = 2
    assert versions.releases("mlflow", Index(index.url))


def test_an_index_that_stays_busy_is_named_and_the_exit_code_is_3(run_tool: Tool, index: PackageIndex) -> None:
    index.broken = 100
    done = run_tool("app", "versions", "--index", index.url)
    assert (done.code, "HTTP 503" in done.stderr) == (3, True)


def test_a_password_in_the_address_of_an_index_is_used_and_never_shown(index: PackageIndex) -> None:
    index.closed = True
    url = index.url.replace("http://", "http://ann:swordfish@")
    assert versions.releases("mlflow", Index(url))
    with pytest.raises(NotFoundError) as refused:
        versions.releases("nothing-of-this-name", Index(url))
    with pytest.raises(AccessError) as unreachable:
        versions.releases("mlflow", Index("http://ann:swordfish@127.0.0.1:9/"))
    assert "swordfish" not in f"{refused.value}{unreachable.value}{Index(url).shown}"


def test_what_is_no_index_is_said_to_be_none() -> None:
    with pytest.raises(UsageError, match="no address of a package index"):
        versions.releases("mlflow", Index("file:///opt/simple/"))


def test_a_file_that_is_not_what_the_index_tells_of_is_refused(index: PackageIndex) -> None:
    file = versions.releases("mlflow", Index(index.url))[0].files[0]
    index.projects["mlflow"][file.name] = b"something else"
    with pytest.raises(UsageError, match="SHA-256"):
        versions.fetch(file, Index(index.url))
