"""Artifacts of a workspace: the Files API, signed addresses where it refuses, large files in parts, volumes."""

import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.databricks import credentials
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import Rest
from tests.databricks import tracking_artifacts
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.signed import Signatures
from tests.databricks.state import Workspace

MIB = 1024 * 1024


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    """One workspace."""
    return databricks_account().workspace("a")


@pytest.fixture
def server(workspace: Workspace) -> Iterator[Server]:
    """The tool's view of it."""
    login = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    found = Server(Rest("databricks", Credentials(databricks=(login,)), workers=4, patience=5))
    found.connect()
    with closing(found):
        yield found


def make_run(workspace: Workspace, **more: str) -> Root:
    """A run in a new experiment, by plain REST."""

    def post(route: str, **body: object) -> dict[str, object]:
        answer = requests.post(f"{workspace.url}/api/2.0/{route}", json=body, headers=workspace.headers(), timeout=60)
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
        return found

    post("workspace/mkdirs", path="/Shared/x")
    experiment = post("mlflow/experiments/create", name="/Shared/x/e", **more)["experiment_id"]
    run = post("mlflow/runs/create", experiment_id=experiment, start_time=1)["run"]
    assert isinstance(run, dict)
    return Root("run", run["info"]["run_id"], run["info"]["artifact_uri"])


def some(path: str, data: bytes) -> File:
    return File(path, len(data), lambda: closing(io.BytesIO(data)))


def pattern(size: int) -> bytes:
    """Bytes that tell where they are."""
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(-(-size // 32)))[:size]


def content(server: Server, root: Root) -> dict[str, bytes]:
    """Every artifact, read to its end."""
    found = {}
    for file in server.files(root):
        assert file.open is not None, file
        with file.open() as reader:
            found[file.path] = b"".join(iter(lambda: reader.read(MIB), b""))
            assert len(found[file.path]) == file.size
    return found


def on_disk(workspace: Workspace) -> dict[str, bytes]:
    """Every file of the workspace's storage by its last part."""
    return {path.name: path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file()}


def paths(workspace: Workspace, part: str) -> list[str]:
    return [f"{method} {path}" for method, path, _ in workspace.requests if part in path]


NAMES = {"a.txt": b"1", "folder/b é 中.txt": b"22", "folder/deep/c&d=?;e+.txt": b"", "empty": b""}


def test_artifacts_go_through_the_files_api_and_back(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    workspace.requests.clear()
    for path, data in NAMES.items():
        server.put_file(root, path, some(path, data))
    assert len(workspace.requests) == len(NAMES)
    assert on_disk(workspace) == {path.rpartition("/")[2]: data for path, data in NAMES.items()}
    workspace.requests.clear()
    assert content(server, root) == NAMES
    # A request for each of three folders, and one for each file.
    assert len(workspace.requests) == 3 + len(NAMES)


def test_a_folder_of_many_files_is_listed_page_by_page(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    for number in range(3):
        server.put_file(root, f"f{number}", some("", b"x"))
    folder = next(path for path in workspace.folder.rglob("f0")).parent
    for number in range(1200):
        (folder / f"more{number:04}").write_bytes(b"y")
    assert len(list(server.files(root))) == 1203


def test_a_large_file_is_sent_in_parts_and_read_by_a_signed_address(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    data = pattern(53 * MIB)
    workspace.requests.clear()
    server.put_file(root, "big.bin", some("big.bin", data))
    assert len(paths(workspace, "create-upload-part-urls")) == 6
    assert on_disk(workspace)["big.bin"] == data
    assert content(server, root) == {"big.bin": data}
    assert len(paths(workspace, "create-download-url")) == 1


def test_a_part_whose_address_has_ended_gets_a_new_one(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    workspace.faults.add(Fault("PUT /signed/", status=403, times=2, after=2))
    data = pattern(51 * MIB)
    server.put_file(root, "big.bin", some("big.bin", data))
    assert on_disk(workspace)["big.bin"] == data


def test_where_the_storage_takes_no_part_the_workspace_takes_the_whole(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    workspace.faults.add(Fault("PUT /signed/", status=403, times=0))
    data = pattern(51 * MIB)
    server.put_file(root, "big.bin", some("big.bin", data))
    assert on_disk(workspace)["big.bin"] == data
    assert workspace.part(Signatures).uploads == {}


def test_an_upload_that_fails_on_its_way_is_given_up_at_the_storage_too(server: Server, workspace: Workspace) -> None:
    workspace.folder.mkdir(exist_ok=True)
    root = make_run(workspace)
    workspace.faults.add(Fault("PUT /signed/", status=400, times=0, after=1))
    workspace.faults.add(Fault("credentials-for-write", status=403, times=0))
    with pytest.raises(ForbiddenError):
        server.put_file(root, "big.bin", some("big.bin", pattern(51 * MIB)))
    assert workspace.part(Signatures).uploads == {}
    assert "big.bin" not in on_disk(workspace)


def test_a_download_goes_on_where_it_broke_off(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    small, large = pattern(3 * MIB), pattern(9 * MIB)
    server.put_file(root, "small", some("", small))
    server.put_file(root, "large", some("", large))
    workspace.faults.add(Fault("GET /api/2.0/fs/files/", status=0, cut=MIB))
    workspace.faults.add(Fault("GET /signed/", status=0, cut=5 * MIB))
    assert content(server, root) == {"small": small, "large": large}


def test_googles_storage_takes_a_large_file_in_one_request(server: Server, workspace: Workspace) -> None:
    workspace.cloud = "GCP"
    root = make_run(workspace)
    data = pattern(51 * MIB)
    workspace.faults.add(Fault("PUT /signed/", status=503))
    server.put_file(root, "big.bin", some("big.bin", data))
    assert on_disk(workspace)["big.bin"] == data
    assert len(paths(workspace, "create-resumable-upload-url")) == 1


@pytest.mark.parametrize("kind", ["AWS_PRESIGNED_URL", "GCP_SIGNED_URL", "AZURE_SAS_URI", "AZURE_ADLS_GEN2_SAS_URI"])
def test_where_the_files_api_refuses_artifacts_go_by_signed_addresses(
    server: Server, workspace: Workspace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.cloud = kind.partition("_")[0]
    monkeypatch.setitem(tracking_artifacts.TYPES, workspace.cloud, kind)
    monkeypatch.setattr(credentials, "BLOCK", 2)
    root = make_run(workspace)
    workspace.faults.add(Fault("/api/2.0/fs/", status=403, times=0))
    wanted = {**NAMES, "blocks": b"12345"}
    for path, data in wanted.items():
        server.put_file(root, path, some(path, data))
    assert on_disk(workspace) == {path.rpartition("/")[2]: data for path, data in wanted.items()}
    assert content(server, root) == wanted
    # Refused once, and not asked again.
    assert len(paths(workspace, "/api/2.0/fs/")) == 1


@pytest.mark.parametrize("kind", ["AWS_PRESIGNED_URL", "AZURE_ADLS_GEN2_SAS_URI"])
def test_one_signed_address_is_asked_for_at_first_and_another_where_it_has_ended(
    server: Server, workspace: Workspace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.cloud = kind.partition("_")[0]
    monkeypatch.setitem(tracking_artifacts.TYPES, workspace.cloud, kind)
    root = make_run(workspace)
    workspace.faults.add(Fault("/api/2.0/fs/", status=403, times=0))
    server.put_file(root, "first.txt", some("first.txt", b"1"))
    # Azure's has three requests, each with an address of its own; none is asked for without being used.
    assert len(paths(workspace, "credentials-for-write")) == (3 if "AZURE" in kind else 1)
    workspace.faults.add(Fault("PUT /signed/", status=403, times=1))
    server.put_file(root, "second.txt", some("second.txt", b"22"))
    assert on_disk(workspace)["second.txt"] == b"22"


def test_a_very_large_file_goes_in_parts_where_the_files_api_refuses(
    server: Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "MULTIPART_FROM", MIB)
    monkeypatch.setattr(credentials, "PART", MIB)
    root = make_run(workspace)
    workspace.faults.add(Fault("/api/2.0/fs/", status=501, times=0))
    workspace.faults.add(Fault("PUT /signed/", status=403, after=1))
    data = pattern(3 * MIB + 7)
    server.put_file(root, "big.bin", some("big.bin", data))
    assert on_disk(workspace)["big.bin"] == data
    assert len(paths(workspace, "get-presigned-upload-part-url")) == 1


def test_a_file_that_is_missing_is_told_and_not_looked_for_elsewhere(server: Server, workspace: Workspace) -> None:
    root = make_run(workspace)
    with pytest.raises(ServerError) as error, server.open_file(root, "nothing"):
        pass
    assert error.value.status == 404
    assert paths(workspace, "credentials-for-read") == []


def test_no_signed_address_is_ever_logged_or_told(
    server: Server, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="mlflow_migration")
    root = make_run(workspace)
    workspace.faults.add(Fault("/api/2.0/fs/", status=403, times=0))
    workspace.faults.add(Fault("PUT /signed/", status=503, times=1))
    workspace.faults.add(Fault("PUT /signed/", status=400, times=0))
    with pytest.raises(ServerError) as error:
        server.put_file(root, "a", some("a", b"1"))
    told = caplog.text + str(error.value) + error.value.hint
    assert "/signed/" not in told
    assert "X-Amz" not in told


def test_an_experiment_in_a_volume_keeps_its_artifacts_there(
    server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    base = "/Volumes/main/default/v"
    made: dict[str, dict[str, str]] = {
        "catalogs": {"name": "main"},
        "schemas": {"catalog_name": "main", "name": "default"},
        "volumes": {"catalog_name": "main", "schema_name": "default", "name": "v", "volume_type": "MANAGED"},
    }
    for kind, body in made.items():
        route = f"{workspace.url}/api/2.1/unity-catalog/{kind}"
        requests.post(route, json=body, headers=workspace.headers(), timeout=60)
    root = Root("run", "r", f"dbfs:{base}/e/r/artifacts")
    for path, data in NAMES.items():
        server.put_file(root, path, some(path, data))
    assert content(server, root) == NAMES


def test_artifacts_in_a_storage_of_ones_own_are_fetched_from_there(server: Server, tmp_path: Path) -> None:
    root = Root("run", "r", f"file://{tmp_path}/e/r/artifacts")
    (tmp_path / "e").mkdir()
    wanted = {"a.txt": b"1", "folder/b é.txt": b"22"}
    for path, data in wanted.items():
        server.put_file(root, path, some(path, data))
    assert content(server, root) == wanted
    with pytest.raises(ServerError), server.open_file(root, "nothing"):
        pass
