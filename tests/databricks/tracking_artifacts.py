"""Artifacts of runs and logged models without the Files API: listing, signed URLs, multipart uploads.

Both ways lead to the same files, as on the platform.
"""

import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.databricks import backend, errors, signed, storage
from tests.databricks.calls import Call
from tests.databricks.state import Workspace

TYPES = {"AWS": "AWS_PRESIGNED_URL", "GCP": "GCP_SIGNED_URL", "AZURE": "AZURE_ADLS_GEN2_SAS_URI"}
PAGE = 1000


def run_folder(workspace: Workspace, run_id: str) -> Path:
    """Where a run's artifacts are on this disk; raises ApiError 404 for a run there isn't."""
    experiment = backend.experiment_of(workspace, run_id)
    return _root(workspace) / experiment / "Runs" / run_id / "artifacts"


def model_folder(workspace: Workspace, model_id: str) -> Path:
    """Where a logged model's artifacts are on this disk; raises ApiError 404 for a model there isn't."""
    experiment = backend.experiment_of(workspace, model_id)
    return _root(workspace) / experiment / "LoggedModels" / model_id / "artifacts"


def trace_folder(workspace: Workspace, trace_id: str) -> Path:
    """Where a trace's data is on this disk; raises ApiError 404 for a trace there isn't."""
    experiment = backend.experiment_of(workspace, trace_id)
    return _root(workspace) / experiment / "Traces" / trace_id / "artifacts"


def _root(workspace: Workspace) -> Path:
    return workspace.folder / storage.ARTIFACTS.strip("/")


def below(folder: Path, path: str) -> Path:
    """A path given by a client, below a folder; raises ApiError 400 when it leads elsewhere."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise errors.invalid(f"Invalid path: {path!r}")
    return folder.joinpath(*path.split("/")) if path else folder


def credential(call: Call, verb: str, disk: Path, upload: str = "", part: int = 0) -> dict[str, Any]:
    """A signed URL as MLflow's messages carry it."""
    url = signed.sign(call.workspace, verb, disk, upload, part)
    return {"signed_uri": url.url, "headers": list(url.headers), "type": TYPES[call.workspace.cloud]}


def _list_run(call: Call) -> Mapping[str, Any]:
    run_id = call.query.get("run_id") or call.need("run_uuid")
    folder = run_folder(call.workspace, run_id)
    run = backend.ask(call.workspace, "GET", "2.0/mlflow/runs/get", params={"run_id": run_id})["run"]
    return {"root_uri": run["info"]["artifact_uri"], **listing(folder, call, call.query.get("path", ""))}


def _list_model(call: Call) -> Mapping[str, Any]:
    folder = model_folder(call.workspace, call.names["model"])
    return listing(folder, call, call.query.get("artifact_directory_path", ""))


def listing(folder: Path, call: Call, path: str) -> dict[str, Any]:
    """A page of a folder; a file lists itself, what isn't there lists nothing."""
    disk = below(folder, path)
    found = sorted(disk.iterdir()) if disk.is_dir() else [disk] if disk.is_file() else []
    first = int(call.query.get("page_token") or 0)
    files = [_file(folder, one) for one in found[first : first + PAGE]]
    answer: dict[str, Any] = {"files": files} if files else {}
    if len(found) > first + PAGE:
        answer["next_page_token"] = str(first + PAGE)
    return answer


def _file(folder: Path, disk: Path) -> dict[str, Any]:
    path = posixpath.join(*disk.relative_to(folder).parts)
    return (
        {"path": path, "is_dir": True}
        if disk.is_dir()
        else {"path": path, "is_dir": False, "file_size": disk.stat().st_size}
    )


def _run_credentials(verb: str) -> Callable[[Call], Mapping[str, Any]]:
    def answer(call: Call) -> Mapping[str, Any]:
        run_id, paths = call.need("run_id"), call.json.get("path", [])
        folder = run_folder(call.workspace, run_id)
        infos = [{"run_id": run_id, "path": path, **credential(call, verb, below(folder, path))} for path in paths]
        return {"credential_infos": infos}

    return answer


def _model_credentials(verb: str) -> Callable[[Call], Mapping[str, Any]]:
    def answer(call: Call) -> Mapping[str, Any]:
        model = call.names["model"]
        folder = model_folder(call.workspace, model)
        infos = [
            {"model_id": model, "credential_info": {"path": path, **credential(call, verb, below(folder, path))}}
            for path in call.json.get("paths", [])
        ]
        return {"credentials": infos}

    return answer


def _create_multipart(call: Call) -> Mapping[str, Any]:
    run_id, path = call.need("run_id"), call.need("path")
    disk = below(run_folder(call.workspace, run_id), path)
    upload, about = signed.begin(call.workspace, disk), {"run_id": run_id, "path": path}
    parts = range(1, int(call.need("num_parts")) + 1)
    return {
        "upload_id": upload,
        "upload_credential_infos": [{**about, **credential(call, "part", disk, upload, part)} for part in parts],
        "abort_credential_info": {**about, **credential(call, "abort", disk, upload)},
    }


def _upload(call: Call) -> tuple[str, signed.Upload]:
    token = call.need("upload_id")
    upload = signed.upload_of(call.workspace, token)
    if not upload or upload.disk != below(run_folder(call.workspace, call.need("run_id")), call.need("path")):
        raise errors.missing(f"The upload {token} does not exist")
    return token, upload


def _part_url(call: Call) -> Mapping[str, Any]:
    token, upload = _upload(call)
    part = int(call.need("part_number"))
    about = {"run_id": call.need("run_id"), "path": call.need("path")}
    return {"upload_credential_info": {**about, **credential(call, "part", upload.disk, token, part)}}


def _complete_multipart(call: Call) -> None:
    token, _ = _upload(call)
    etags = {int(part["part_number"]): str(part["etag"]) for part in call.json.get("part_etags", [])}
    if wrong := signed.complete(call.workspace, token, etags):
        raise errors.invalid(wrong)


_RUNS, _MODELS = "/api/2.0/mlflow/artifacts", "/api/2.0/mlflow/logged-models/{model}/artifacts"
TABLE: dict[str, Callable[[Call], Mapping[str, Any] | None]] = {
    f"GET {_RUNS}/list": _list_run,
    f"POST {_RUNS}/credentials-for-read": _run_credentials("read"),
    f"POST {_RUNS}/credentials-for-write": _run_credentials("write"),
    f"POST {_RUNS}/create-multipart-upload": _create_multipart,
    f"POST {_RUNS}/complete-multipart-upload": _complete_multipart,
    f"GET {_RUNS}/get-presigned-upload-part-url": _part_url,
    f"GET {_MODELS}/directories": _list_model,
    f"POST {_MODELS}/credentials-for-upload": _model_credentials("write"),
    f"POST {_MODELS}/credentials-for-download": _model_credentials("read"),
}
