"""The forms of users, roles, permissions and workspaces that come from outside, checked before any is written."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

TYPE = r"^[a-z][a-z_]*$"


class User(BaseModel):
    """A user by name. The head has no password: MLflow never gives one."""

    username: str = Field(min_length=1)
    is_admin: bool = False


class Permission(BaseModel):
    """What is allowed of what, as the REST API shows it, with the thing's name where its pattern is an id."""

    resource_type: str = Field(pattern=TYPE)
    resource_pattern: str = Field(min_length=1)
    permission: str = Field(min_length=1)
    resource_name: str = ""


class Role(BaseModel):
    """A role of one workspace, with all it allows."""

    name: str = Field(min_length=1)
    description: str = ""
    permissions: list[Permission] = []


class Grant(BaseModel):
    """What one user has: a role, or a permission of their own."""

    username: str = Field(min_length=1)
    role: str | None = Field(None, min_length=1)
    permission: Permission | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Grant:
        if (self.role is None) == (self.permission is None):
            raise ValueError("it must be either a role or a permission")
        return self


class _Entry(BaseModel):
    type: Literal["", "user", "group", "service_principal"]
    principal: str = Field(min_length=1)
    levels: list[str] = Field(min_length=1)


class AccessList(BaseModel):
    """Who was given what on one experiment or registered model at Databricks."""

    securable: Literal["experiment", "registered_model"]
    id: str = Field(min_length=1)
    name: str
    dialect: Literal["workspace", "unity_catalog"]
    owner: str = ""
    entries: list[_Entry]


class _Archival(BaseModel):
    location: str = ""
    retention: str = ""


class Workspace(BaseModel):
    """The head as the REST API shows it. MLflow itself checks the name."""

    name: str = Field(min_length=1)
    description: str = ""
    default_artifact_root: str = ""
    trace_archival_config: _Archival = _Archival()
