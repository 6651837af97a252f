"""`mlflow-app.yml`: what an app is to be, on Databricks Apps or anywhere its runtime is started."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mlflow_migration.errors import StorageError, UsageError

FILE = "mlflow-app.yml"
LARGEST = 1024 * 1024
REFERENCE = "see docs/reference/app-configuration.md"
NAME = r"^[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?$"
"""Names of apps: lowercase letters, digits and hyphens, 30 at most (databricks-sdk's `App.name`, Databricks' CLI)."""
VOLUME = r"^/Volumes/[^/\s]+/[^/\s]+/[^/\s]+(?:/[^\s]*)?$"
VERSION = r"^(?:latest|\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)*)$"
BRANCH = r"^[A-Za-z0-9][\w.-]*/[\w][\w./-]*$"
IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"
"""Names in PostgreSQL that mean the same with and without quotes."""
OURS = ("MLFLOW_APP_", "DATABRICKS_", "PG")
KEK = "MLFLOW_CRYPTO_KEK_PASSPHRASE"
"""What MLflow encrypts stored credentials with."""
SECRET = re.compile(
    r"(?:SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|(?:API|ACCESS|PRIVATE|ENCRYPTION)_?KEY|CREDENTIAL)", re.IGNORECASE
)
LOGIN = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
"""A user with a password in an address."""
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"

Backend = Literal["sqlite", "lakebase", "databricks"]
Size = Literal["MEDIUM", "LARGE", "XLARGE"]
Level = Literal["CAN_USE", "CAN_MANAGE"]


class Form(BaseModel):
    """A part of the configuration: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Git(Form):
    """MLflow from a branch of a fork of github.com/mlflow/mlflow."""

    git: str = Field(pattern=BRANCH, description="user/branch: that branch of github.com/USER/mlflow.")

    def repository_at(self, github: str) -> str:
        """The fork's address below that of GitHub."""
        return f"{github}/{self.git.partition('/')[0]}/mlflow.git"

    @property
    def branch(self) -> str:
        return self.git.partition("/")[2]


class Snapshots(Form):
    """How the database of `sqlite` is kept."""

    seconds: float = Field(30.0, ge=0.1, description="A snapshot that often, where something changed: the loss window.")
    keep: int = Field(24, ge=1, description="The newest so many generations stay.")
    keep_days: int = Field(7, ge=0, description="And of each of so many days the last one of every start of the app.")


class Lakebase(Form):
    """The PostgreSQL of `lakebase`: a project with autoscaling, or a provisioned instance that exists."""

    project: str = Field("", description="The project's id; the app's name where neither is given. Made where missing.")
    branch: str = Field("production", min_length=1, description="The project's branch.")
    instance: str = Field("", description="A provisioned instance that exists, instead of a project.")
    database: str = Field("databricks_postgres", pattern=IDENTIFIER, description="The database.")
    schema_name: str = Field("mlflow", alias="schema", pattern=IDENTIFIER, description="The schema of MLflow's tables.")
    min_cu: float = Field(0.5, ge=0.5, le=32, description="Compute units a new project keeps.")
    max_cu: float = Field(4.0, ge=0.5, le=32, description="Compute units a new project may grow to.")

    @model_validator(mode="after")
    def _fits(self) -> Lakebase:
        if self.project and self.instance:
            raise ValueError("give project or instance")
        if self.max_cu < self.min_cu:
            raise ValueError("max_cu is less than min_cu")
        return self


class Package(Form):
    """Where the app gets this package from; its version is the one that deploys."""

    index: str = Field("", pattern=r"^(?:https://\S+)?$", description="The address of another package index.")
    test_index: bool = Field(False, description="From test.pypi.org, everything else from the index.")
    wheel: str = Field("", description="A wheel of this package on this machine, which is uploaded beside the files.")

    @model_validator(mode="after")
    def _one_channel(self) -> Package:
        if bool(self.index) + self.test_index + bool(self.wheel) > 1:
            raise ValueError("give one of index, test_index and wheel")
        if re.match(r"https://[^/]*@", self.index):
            raise ValueError("index: an address with a password would stand in a file; configure the index for the app")
        return self


class Encryption(Form):
    """The passphrase MLflow encrypts stored credentials with: a secret of the workspace, generated once."""

    scope: str = Field("", description="The secret scope; mlflow-app-NAME where none is given.")
    key: str = Field("kek-passphrase", min_length=1, description="The secret's key.")


class Grant(Form):
    """Who may use or manage the app."""

    user: str = Field("", description="A user's e-mail address.")
    group: str = Field("", description="Or a group's name.")
    service_principal: str = Field("", description="Or a service principal's application id.")
    level: Level = Field("CAN_USE", description="CAN_USE or CAN_MANAGE.")

    @model_validator(mode="after")
    def _one_principal(self) -> Grant:
        if bool(self.user) + bool(self.group) + bool(self.service_principal) != 1:
            raise ValueError("give one of user, group and service_principal")
        return self


class FromResource(Form):
    """A variable whose value a resource of the app gives: a secret's, a Volume's path."""

    value_from: str = Field(min_length=1, description="The resource's name.")


class AppConfig(Form):
    """A whole `mlflow-app.yml`."""

    name: str = Field(pattern=NAME, description="The app's name: lowercase letters, digits, hyphens; 30 at most.")
    description: str = Field("MLflow", max_length=1000, description="What the workspace shows beside the name.")
    mlflow: Annotated[str, StringConstraints(pattern=VERSION)] | Git = Field(
        "latest", description="A version of the package index, `latest`, or `git: user/branch`."
    )
    backend: Backend = Field("sqlite", description="Where MLflow keeps what it knows.")
    volume: str = Field("", description="A folder of a Volume, /Volumes/CATALOG/SCHEMA/VOLUME/...: snapshots go there.")
    artifacts: str = Field("", description="Where artifacts go; VOLUME/artifacts where none is given.")
    compute: Size = Field("MEDIUM", description="The app's compute size.")
    workers: int = Field(1, ge=1, le=16, description="Processes of the server.")
    allowed_hosts: tuple[str, ...] = Field((), description="Further hosts; the app's own is known.")
    job_execution: bool = Field(False, description="MLflow's job runner: 8 more processes.")
    require_identity: bool = Field(True, description="Refuse requests without the platform's headers.")
    experiment_prefix: str = Field("", description="`databricks`: the folder of experiments whose names are no paths.")
    environment: dict[str, str | FromResource] = Field(
        {}, description="Further variables: nothing secret, or value_from: the name of a resource."
    )
    permissions: tuple[Grant, ...] = Field((), description="Besides whoever deploys.")
    resources: tuple[dict[str, Any], ...] = Field((), description="Further resources, as the Apps API takes them.")
    workspace_path: str = Field("", description="Where the app's files go; below your home folder where none is given.")
    snapshots: Snapshots = Field(
        default_factory=lambda: Snapshots.model_validate({}), description="`sqlite`: how the database is kept."
    )
    lakebase: Lakebase | None = Field(None, description="`lakebase`: its project or instance.")
    encryption: Encryption = Field(
        default_factory=lambda: Encryption.model_validate({}),
        description="Where the passphrase of credentials is kept.",
    )
    package: Package = Field(
        default_factory=lambda: Package.model_validate({}), description="Where the app gets this package from."
    )

    @property
    def lakebase_or_default(self) -> Lakebase:
        """What `lakebase` says, or its defaults."""
        return self.lakebase or Lakebase.model_validate({})

    @model_validator(mode="after")
    def _fits_together(self) -> AppConfig:
        faults = [*self._faults_of_places(), *self._faults_of_environment()]
        if self.lakebase and self.backend != "lakebase":
            faults.append("lakebase: only for backend: lakebase")
        if self.experiment_prefix and self.backend != "databricks":
            faults.append("experiment_prefix: only for backend: databricks")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults_of_places(self) -> list[str]:
        faults = []
        if self.volume and not _is_place(self.volume):
            faults.append("volume: /Volumes/CATALOG/SCHEMA/VOLUME/..., or a folder from the root where no App runs it")
        if self.backend != "databricks" and not (self.volume or self.artifacts):
            faults.append("volume: needed for snapshots and artifacts")
        if self.backend == "sqlite" and not self.volume:
            faults.append("volume: needed for snapshots")
        if not self.artifacts.isprintable() or ".." in self.artifacts.split("/"):
            faults.append("artifacts: no address")
        if LOGIN.search(self.artifacts):
            faults.append("artifacts: a password in an address would stand in a file; give a resource of kind secret")
        if self.workspace_path and not self.workspace_path.startswith("/Workspace/"):
            faults.append("workspace_path: begins with /Workspace/")
        return faults

    def _faults_of_environment(self) -> list[str]:
        known = {resource.get("name") for resource in self.resources}
        faults = []
        for name, value in self.environment.items():
            if name.startswith(OURS) or name == KEK:
                faults.append(f"environment: {name} is set by the app or the platform")
            elif isinstance(value, FromResource):
                if value.value_from not in known:
                    faults.append(f"environment: {name}: resources has none named {value.value_from}")
            elif not re.fullmatch(VARIABLE, name) or "\0" in value:
                faults.append(f"environment: {name!r} is no name of a variable, or its value can't be one's")
            elif SECRET.search(name) or LOGIN.search(value):
                faults.append(
                    f"environment: {name} looks like a secret, which files must not hold: add a resource of kind "
                    "secret, and value_from: its name"
                )
        return faults


def load(path: Path) -> AppConfig:
    """Read a configuration. Raises UsageError that names everything wrong in it."""
    return parsed(raw(path), str(path))


def raw(path: Path) -> dict[str, Any]:
    """What stands in a file, unchecked. Raises UsageError where it can't be read or isn't a mapping."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"the configuration {path} is too large", f"more than {LARGEST} bytes")
        content = _Plain(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        hint = f"mlflow-migration app init writes {FILE}"
        raise UsageError(f"can't read the configuration {path}", error.strerror or str(error), hint) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the configuration {path} is no plain YAML", " ".join(str(error).split())[:300]) from error
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"the configuration {path} is wrong", "keys and values are expected", REFERENCE)
    return content or {}


class _Plain(yaml.SafeLoader):
    """Plain values: no key twice, of which the last would win, and no aliases, by which a page becomes gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = parent.start_mark if parent else None
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not taken, write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def parsed(content: Mapping[str, Any], where: str) -> AppConfig:
    """A configuration of plain values. Raises UsageError with every fault in it."""
    try:
        return AppConfig.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors())
        raise UsageError(f"the configuration {where} is wrong", faults, REFERENCE) from error


def _is_place(volume: str) -> bool:
    """A folder of a Volume, or one of the machine where no App runs it."""
    if ".." in volume.split("/") or not volume.isprintable():
        return False
    if volume.startswith("/Volumes/"):
        return bool(re.match(VOLUME, volume))
    # Without its last slash the root of a machine would be the folder one is in.
    return volume.startswith(("/", "file:///")) and volume.rstrip("/") not in {"", "file:"}


def fault_of(content: Mapping[str, Any], path: Sequence[str]) -> str:
    """What is wrong with the value at a path, "" if nothing is; what is wrong elsewhere doesn't count."""
    try:
        AppConfig.model_validate(content)
    except ValidationError as error:
        for fault in error.errors():
            where = [str(part) for part in fault["loc"]]
            if where[: len(path)] == list(path) or (where and where == list(path)[: len(where)]):
                return _fault(fault)
            if not where:
                parts = fault["msg"].removeprefix("Value error, ").split("; ")
                return next((part for part in parts if part.startswith(f"{path[0]}:")), "")
    return ""


def with_arguments(content: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> AppConfig:
    """A file's values and those given beside it. Raises UsageError where one key is given in both."""
    both = sorted(content.keys() & arguments.keys())
    if both:
        hint = f"leave {'them' if len(both) > 1 else 'it'} out of the command, or change the file: app config set"
        raise UsageError(f"given twice: {', '.join(both)}", f"as arguments and in {where}", hint)
    return parsed({**content, **arguments}, where)


def plain(config: AppConfig) -> dict[str, Any]:
    """What a file of it holds: only what is not the default."""
    return config.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def given(config: AppConfig) -> dict[str, Any]:
    """What was given of it, defaults too where they were given, each value in its own type."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a configuration's values; comments beside keys that stay as they are stay too. Raises StorageError."""
    try:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        path.write_text(_edited(before, content), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"can't write {path}", error.strerror or str(error)) from error


def text(content: Mapping[str, Any]) -> str:
    """Values as YAML."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def _edited(before: str, content: Mapping[str, Any]) -> str:
    """A file's text with these values: only the blocks of keys that change are written anew.

    A block is a key at the margin, with what is indented, or a list's item, below it.
    """
    held = yaml.safe_load(before) or {}
    lines, kept = before.splitlines(keepends=True), []
    key, written = "", set()
    for line in lines:
        if found := re.match(r"([A-Za-z_]\w*):(?:\s|$)", line):
            key = found[1]
            if held.get(key) != content.get(key) and key in content:
                kept.append(text({key: content[key]}))
                written.add(key)
        elif line[:1] not in (" ", "-", "\t"):
            key = ""
        if not key or (key in content and held.get(key) == content[key]):
            kept.append(line)
    ended = [*kept, "\n"] if kept and not kept[-1].endswith("\n") else kept
    new = {name: value for name, value in content.items() if name not in held}
    edited = "".join(ended) + (text(new) if new else "")
    # Keys in quotes, flow style or anchors are written in ways this doesn't look for.
    try:
        return edited if yaml.safe_load(edited) == dict(content) else text(content)
    except yaml.YAMLError:
        return text(content)


def schema() -> str:
    """The JSON schema of a configuration."""
    return json.dumps(AppConfig.model_json_schema(), indent=2) + "\n"


def _fault(fault: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg'].removeprefix('Value error, ')}"
