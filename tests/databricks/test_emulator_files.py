"""Workspace files and the Files API by the real databricks-sdk, and what is then on disk."""

import base64
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import AlreadyExists, NotFound, PermissionDenied, ResourceAlreadyExists, ResourceDoesNotExist
from databricks.sdk.service.workspace import ExportFormat, ImportFormat, Language, ObjectType

from tests.databricks import access, workspace_tree
from tests.databricks.access import Securable
from tests.databricks.fixtures import AccountFactory, AnyWorkspace
from tests.databricks.signed import Signatures
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

VOLUME = Securable("volume", "main.default.files")
ROOT = "/Volumes/main/default/files"
SOURCE = "# Databricks notebook source\nprint(1)\n\n# COMMAND ----------\n\n# MAGIC %md\n# MAGIC a title\n"


def sdk(workspace: Workspace, user: str = ADMIN) -> WorkspaceClient:
    token = workspace.token(user)
    return WorkspaceClient(config=Config(host=workspace.url, token=token, auth_type="pat", retry_timeout_seconds=20))


def download(client: WorkspaceClient, path: str) -> bytes:
    contents = client.files.download(path).contents
    assert contents is not None
    return contents.read()


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    made = databricks_account().workspace("a", metastore="m1")
    access.grants(made.metastore).own(VOLUME, ADMIN)
    return made


def test_folders_files_and_notebooks_are_uploaded_listed_and_read(any_workspace: AnyWorkspace) -> None:
    client = WorkspaceClient(config=Config(host=any_workspace.url, token=_token(any_workspace), auth_type="pat"))
    folder = f"/Users/{any_workspace.user}/emulator-test"
    client.workspace.mkdirs(f"{folder}/deep")
    client.workspace.upload(f"{folder}/deep/data.txt", b"text\r\n\0bytes", format=ImportFormat.AUTO, overwrite=True)
    client.workspace.upload(f"{folder}/book.py", io.BytesIO(SOURCE.encode()), format=ImportFormat.AUTO, overwrite=True)
    seen = {one.path: one.object_type for one in client.workspace.list(folder, recursive=True)}
    assert seen == {f"{folder}/deep/data.txt": ObjectType.FILE, f"{folder}/book": ObjectType.NOTEBOOK}
    assert client.workspace.download(f"{folder}/deep/data.txt", format=ExportFormat.AUTO).read() == b"text\r\n\0bytes"
    assert client.workspace.download(f"{folder}/book").read().decode().strip() == SOURCE.strip()
    assert client.workspace.get_status(f"{folder}/book").language == Language.PYTHON
    with pytest.raises(ResourceAlreadyExists):
        client.workspace.upload(f"{folder}/deep/data.txt", b"again", format=ImportFormat.AUTO)
    client.workspace.delete(folder, recursive=True)
    with pytest.raises(ResourceDoesNotExist):
        client.workspace.get_status(folder)


def _token(workspace: AnyWorkspace) -> str:
    return workspace.headers()["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize("form", ["SOURCE", "HTML", "JUPYTER", "DBC"])
def test_a_notebook_exported_in_a_format_is_the_same_when_imported_again(workspace: Workspace, form: str) -> None:
    client, old, new = sdk(workspace), f"/Users/{ADMIN}/old", f"/Users/{ADMIN}/new"
    content = base64.b64encode(SOURCE.encode()).decode()
    client.workspace.import_(old, content=content, format=ImportFormat.SOURCE, language=Language.PYTHON)
    exported = client.workspace.export(old, format=ExportFormat(form)).content or ""
    client.workspace.import_(new, content=exported, format=ImportFormat(form), language=Language.PYTHON)
    assert client.workspace.download(new).read().decode() == SOURCE
    raw = base64.b64decode(exported)
    if form == "JUPYTER":
        assert [cell["cell_type"] for cell in json.loads(raw)["cells"]] == ["code", "markdown"]
    if form == "DBC":
        assert zipfile.ZipFile(io.BytesIO(raw)).namelist() == ["old.python"]


def test_an_earlier_revision_of_a_notebook_is_still_there(workspace: Workspace) -> None:
    client, path = sdk(workspace), f"/Users/{ADMIN}/book"
    for text in ("one = 1", "two = 2"):
        source = f"# Databricks notebook source\n{text}\n".encode()
        client.workspace.upload(f"{path}.py", source, format=ImportFormat.AUTO, overwrite=True)
    first, second = (moment for moment, _ in workspace_tree.get(workspace, path).revisions)
    asked = {"path": path, "direct_download": True}
    address, headers = f"{workspace.url}/api/2.0/workspace/export", workspace.headers()
    for moment, text in ((first, "one = 1"), (second, "two = 2")):
        body = {**asked, "revision": {"revision_timestamp": moment}}
        assert text in requests.get(address, json=body, headers=headers, timeout=30).text
    query = f"?path={path}&direct_download=true&revision_timestamp={first}"
    assert "two = 2" in requests.get(address + query, headers=headers, timeout=30).text


def test_nobody_makes_a_home_for_others(workspace: Workspace) -> None:
    body = {"path": "/Users/nobody@example.com"}
    address = f"{workspace.url}/api/2.0/workspace/mkdirs"
    answer = requests.post(address, json=body, headers=workspace.headers(), timeout=30)
    assert answer.json() == {"error_code": "DIRECTORY_PROTECTED", "message": "Folder Users is protected"}


@pytest.mark.slow
@pytest.mark.parametrize(("cloud", "asked"), [("AWS", "upload-part-urls"), ("GCP", "resumable-upload-url")])
def test_a_file_of_sixty_megabytes_goes_in_parts_and_comes_back(workspace: Workspace, cloud: str, asked: str) -> None:
    workspace.cloud = cloud
    content = os.urandom(60 * 1024 * 1024)
    sdk(workspace).files.upload(f"{ROOT}/large.bin", io.BytesIO(content))
    assert (workspace.metastore.folder / "Volumes/main/default/files/large.bin").read_bytes() == content
    assert download(sdk(workspace), f"{ROOT}/large.bin") == content
    paths = [path for _, path, _ in workspace.requests]
    assert f"/api/2.0/fs/create-{asked}" in paths
    assert "/api/2.0/fs/create-download-url" in paths


def test_an_aborted_upload_in_parts_leaves_nothing_and_takes_no_more(workspace: Workspace) -> None:
    root, headers = f"{workspace.url}/api/2.0/fs", workspace.headers()
    begun = requests.post(f"{root}/files{ROOT}/x?action=initiate-upload&overwrite=true", headers=headers, timeout=30)
    token = begun.json()["multipart_upload"]["session_token"]
    asked = {"path": f"{ROOT}/x", "session_token": token, "start_part_number": 1, "count": 1}
    parts = requests.post(f"{root}/create-upload-part-urls", json=asked, headers=headers, timeout=30).json()
    (part,) = parts["upload_part_urls"]
    aborting = requests.post(f"{root}/create-abort-upload-url", json=asked, headers=headers, timeout=30).json()
    abort = aborting["abort_upload_url"]
    put = requests.put(part["url"], b"part", headers=_signed(part), timeout=30)
    assert requests.delete(abort["url"], headers=_signed(abort), timeout=30).status_code == 204
    done = {"parts": [{"part_number": 1, "etag": put.headers["ETag"]}]}
    address = f"{root}/files{ROOT}/x?action=complete-upload&upload_type=multipart&session_token={token}"
    assert requests.post(address, json=done, headers=headers, timeout=30).status_code == 404
    assert requests.put(part["url"], b"part", headers=_signed(part), timeout=30).status_code == 404
    assert not (workspace.metastore.folder / "Volumes/main/default/files/x").exists()


def _signed(url: dict[str, Any]) -> dict[str, str]:
    return {header["name"]: header["value"] for header in url["headers"]}


def test_small_files_with_odd_names_are_kept_listed_in_pages_and_deleted(workspace: Workspace) -> None:
    files = sdk(workspace).files
    names = ["a b.txt", "c#d.txt", "e%20f.txt", "g+h.txt", "é.txt"]
    for name in names:
        files.upload(f"{ROOT}/sub/{name}", io.BytesIO(name.encode()))
    assert sorted(one.name or "" for one in files.list_directory_contents(f"{ROOT}/sub", page_size=2)) == sorted(names)
    assert sum(path.endswith("/sub") for _, path, _ in workspace.requests) == 3
    on_disk = workspace.metastore.folder / "Volumes/main/default/files/sub"
    assert {path.name: path.read_text() for path in on_disk.iterdir()} == {name: name for name in names}
    with pytest.raises(AlreadyExists):
        files.upload(f"{ROOT}/sub/a b.txt", io.BytesIO(b"again"))
    assert files.get_metadata(f"{ROOT}/sub/c#d.txt").content_length == len("c#d.txt")
    for name in names:
        files.delete(f"{ROOT}/sub/{name}")
    files.delete_directory(f"{ROOT}/sub")
    with pytest.raises(NotFound):
        files.get_directory_metadata(f"{ROOT}/sub")


def test_a_range_of_a_file_is_answered_with_that_range(workspace: Workspace) -> None:
    sdk(workspace).files.upload(f"{ROOT}/x", io.BytesIO(bytes(range(100))))
    headers = {**workspace.headers(), "Range": "bytes=90-"}
    answer = requests.get(f"{workspace.url}/api/2.0/fs/files{ROOT}/x", headers=headers, timeout=30)
    assert (answer.status_code, answer.content) == (206, bytes(range(90, 100)))


def test_a_volume_is_read_and_written_by_those_who_may(workspace: Workspace) -> None:
    eve = "eve@example.com"
    workspace.account.add_user(eve, "risk")
    sdk(workspace).files.upload(f"{ROOT}/x", io.BytesIO(b"x"))
    held = access.grants(workspace.metastore)
    with pytest.raises(PermissionDenied, match="USE CATALOG on Catalog 'main'"):
        download(sdk(workspace, eve), f"{ROOT}/x")
    held.give(Securable("catalog", "main"), "risk", "USE_CATALOG", "USE_SCHEMA")
    held.give(VOLUME, eve, "READ_VOLUME")
    assert download(sdk(workspace, eve), f"{ROOT}/x") == b"x"
    with pytest.raises(PermissionDenied, match="WRITE VOLUME"):
        sdk(workspace, eve).files.upload(f"{ROOT}/y", io.BytesIO(b"y"))
    with pytest.raises(NotFound, match=r"Volume 'main\.default\.other' does not exist"):
        sdk(workspace).files.upload("/Volumes/main/default/other/y", io.BytesIO(b"y"))


def test_a_signed_url_needs_its_header_no_credentials_and_its_time(workspace: Workspace) -> None:
    sdk(workspace).files.upload(f"{ROOT}/x", io.BytesIO(b"x"))
    address = f"{workspace.url}/api/2.0/fs/create-download-url?path={ROOT}/x"
    url = requests.post(address, headers=workspace.headers(), timeout=30).json()
    headers = _signed(url)
    assert requests.get(url["url"], headers=headers, timeout=30).content == b"x"
    assert requests.get(url["url"], timeout=30).status_code == 403
    assert requests.get(url["url"], headers={**headers, **workspace.headers()}, timeout=30).status_code == 400
    workspace.part(Signatures).seconds = -1
    late = requests.post(address, headers=workspace.headers(), timeout=30).json()
    assert "expired" in requests.get(late["url"], headers=_signed(late), timeout=30).text


def test_workspaces_share_a_metastores_volumes_and_no_run_artifacts(databricks_account: AccountFactory) -> None:
    account = databricks_account()
    one, two = account.workspace("a", metastore="m1"), account.workspace("b", metastore="m1")
    other = account.workspace("c", metastore="m2")
    access.grants(one.metastore).own(VOLUME, ADMIN)
    sdk(one).files.upload(f"{ROOT}/x", io.BytesIO(b"x"))
    run = "/WorkspaceInternal/Mlflow/Artifacts/1/Runs/2/artifacts/x"
    sdk(one).files.upload(run, io.BytesIO(b"run"))
    assert sdk(two).files.get_metadata(f"{ROOT}/x").content_length == 1
    for client, path in ((sdk(two), run), (sdk(other), f"{ROOT}/x")):
        with pytest.raises(NotFound):
            client.files.get_metadata(path)


def test_nothing_of_one_test_is_left_for_the_next(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a", metastore="m1")
    assert list(workspace.metastore.folder.iterdir()) == list(workspace.folder.iterdir()) == []
    assert [one.path for one in sdk(workspace).workspace.list(f"/Users/{ADMIN}")] == []
    assert set(workspace.account.principals) == {ADMIN}
    # The first question to tracking starts the MLflow server behind it.
    address = f"{workspace.url}/api/2.0/mlflow/experiments/search?max_results=5"
    found = requests.get(address, headers=workspace.headers(), timeout=120)
    assert found.json() == {}
    assert Path(workspace.account.config_file).stat().st_mode & 0o777 == 0o600
