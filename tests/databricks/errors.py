"""Errors as a Databricks workspace answers them: `{"error_code", "message"}` and a status."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response


@dataclass
class ApiError(Exception):
    """What a handler raises to answer with an error."""

    status: int
    code: str | int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    details: tuple[Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


def answer(error: ApiError) -> Response:
    """The HTTP answer of an error."""
    body: dict[str, Any] = {"error_code": error.code, "message": error.message}
    if error.details:
        body["details"] = list(error.details)
    return JSONResponse(body, error.status, dict(error.headers))


def invalid(message: str) -> ApiError:
    """400: a parameter's value is refused."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> ApiError:
    """404: no such thing."""
    return ApiError(404, "RESOURCE_DOES_NOT_EXIST", message)


def taken(message: str) -> ApiError:
    """400, as workspace files and MLflow answer a name that is there already."""
    return ApiError(400, "RESOURCE_ALREADY_EXISTS", message)


def denied(message: str) -> ApiError:
    """403: the caller may not."""
    return ApiError(403, "PERMISSION_DENIED", message)


def no_endpoint(method: str, path: str) -> ApiError:
    """404: Databricks has no such route."""
    return ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path.removeprefix('/api/2.0')}'")


def no_credential() -> ApiError:
    """401: nothing in `Authorization` (the body is that of databricks-industry reports, its code is a number)."""
    return ApiError(401, 401, f"Credential was not sent or was of an unsupported type for this API. {_request_id()}")


def bad_token() -> ApiError:
    """403: a personal access token that is unknown, revoked or expired (databricks-sdk-go issue 917)."""
    reason = {"X-Databricks-Reason-Phrase": "Invalid access token."}
    return ApiError(403, 403, f"Invalid access token. {_request_id()}", reason)


def expired(status: int) -> ApiError:
    """401 (older deployments: 403, databricks-vscode issue 583): an OAuth token whose time is over."""
    return ApiError(status, status, f"Token is expired. {_request_id()}")


def _request_id() -> str:
    return f"[ReqId: {uuid.uuid4()}]"
