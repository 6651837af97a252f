"""Facts of the code with the words a person needs beside them; a fact without words, or the reverse, is an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_migration.bundle import layout, manifest, shards
from mlflow_migration.cli import logs
from mlflow_migration.compare import UNREAD, Comparison, Difference
from mlflow_migration.engine.config import ROLES, Config, PlaceSettings, Settings
from mlflow_migration.objects import KINDS, SHARDED
from mlflow_migration.objects.waived import FIELDS
from mlflow_migration.report import STATES, Report, Row

VARIABLES = {
    "MLFLOW_TRACKING_URI": "The server, where no option names one.",
    logs.OUTPUT_FILE: "Also write the log to this file.",
    logs.FORMAT: "The format of log lines, as Python's `logging` wants it.",
    logs.CONFIG_FILE: "A YAML file for Python's `logging.config.dictConfig`; replaces all other log settings.",
    "NO_COLOR": "No colours on the terminal.",
    "XDG_CONFIG_HOME": "Where `mlflow-migration/config.yml` is looked for (`~/.config` where it isn't set).",
    "XDG_STATE_HOME": "Where `mlflow-migration/` keeps the ledgers (`~/.local/state` where it isn't set).",
    "MLFLOW_MIGRATION_APP_ENCRYPTION_KEY": "`app create|update|deploy`: the passphrase MLflow encrypts stored "
    "credentials with, where there is one already. It becomes the secret where there is none; one that is there stays.",
}

PLACE = {
    "uri": "The address of a server, or the folder of a bundle. Required.",
    "username": "User of basic authentication.",
    "password": "Its password. Better: `password_env`.",
    "password_env": "The environment variable that holds the password.",
    "token": "A bearer token, in place of user and password. Better: `token_env`.",
    "token_env": "The environment variable that holds the token.",
    "workspace": "The MLflow workspace, sent as `X-MLFLOW-WORKSPACE`.",
    "insecure_tls": "`true`: don't check the server's certificate.",
    "ca_bundle": "A file with the certificates to trust.",
    "client_cert": "A file with the client's certificate and key.",
    "profile": "Of a Databricks workspace: a profile of `~/.databrickscfg`. It counts alone, whatever else is set.",
    "config_file": "Where profiles are, if not in `~/.databrickscfg`.",
    "host": "The workspace's address.",
    "auth_type": "Which way to log in, where more than one would do (`pat`, `oauth-m2m`, `github-oidc` …).",
    "account_id": "The account's id.",
    "workspace_id": "The workspace's id, where one host has several.",
    "client_id": "The service principal of OAuth or OIDC.",
    "client_secret": "Its secret. Better: `client_secret_env`.",
    "client_secret_env": "The environment variable that holds the secret.",
    "oidc_token_env": "The environment variable that holds an identity token (`env-oidc`).",
    "oidc_token_filepath": "The file that holds an identity token (`file-oidc`).",
    "token_audience": "Whom identity tokens are asked for.",
    "azure_workspace_resource_id": "The workspace as a resource of Azure.",
    "azure_client_id": "The service principal of Microsoft Entra ID.",
    "azure_client_secret": "Its secret. Better: `azure_client_secret_env`.",
    "azure_client_secret_env": "The environment variable that holds the secret.",
    "azure_tenant_id": "The tenant of Microsoft Entra ID.",
    "azure_environment": "`Public`, `UsGov` or `China`.",
    "azure_use_msi": "`true`: log in by the machine's managed identity.",
    "google_service_account": "The service account of Google Cloud.",
    "google_credentials": "Its key, or a file with it. Better: `google_credentials_env`.",
    "google_credentials_env": "The environment variable that holds the key.",
    "databricks_cli_path": "Where the Databricks CLI is, if its login is to be used and it isn't found.",
}

STATE = {
    "done": "It was not there and is now, whole. Under `--dry-run`: it would be.",
    "updated": "It was there and lacked something; what was missing or changed has been added.",
    "same": "It was there already. Nothing was written.",
    "failed": "It could not go. The reason says why. Exit code 1.",
    "skipped": (
        "It was left out because you asked so (`--max-artifact-size`) or didn't ask for it (`--permissions`), because "
        "it is the source itself, or because it waits for something that the destination lacks: a row `secret` or "
        "`link` beside it tells for what. Or it is not known whether there is more, since the server hides what these "
        "credentials may not read."
    ),
    "unsupported": "It can't go to this destination, or not with this version. Exit code 1 unless `--allow-loss` names "
    "its kind.",
}

LOSS = {
    "param": "A param longer than 6,000 characters, with a key MLflow refuses, or that has another value already.",
    "tag": "A tag longer than 8,000 characters that can only be written after its run is made; or an experiment's tag "
    "that had another value at the destination before.",
    "metric": "Points with a negative timestamp, or of a key MLflow refuses.",
    "artifact": "A file whose name MLflow can't hold, or that can't be read.",
    "assessment": "What MLflow's REST API can't set of a trace's assessment: that it is invalid where no other one "
    "overrides it; what an expectation overrides.",
    "metadata": "A trace's metadata of which the source shows 250 characters at most, or that the destination adds.",
    "input": "A run's dataset input, where runs of others in the same experiment have another dataset of its name and "
    "digest: MLflow keeps the first.",
    "link": "A run, logged model, experiment, label schema, issue, trace, scorer or gateway endpoint that something "
    "refers to and that is not at the destination; a deletion that would hit foreign runs; what a destination refuses "
    "to tie.",
    "notebook": "The Databricks notebook a run was made with, where --notebook-formats or --dst-notebook-dir asks for "
    "it: deleted, not to be read, or refused by the other workspace.",
    "secret": "The secret of a new webhook, one of the gateway, or the password of a new user, which MLflow never "
    "gives: make or set it there, under the same name.",
    "permission": "What a role allows on a thing that isn't at the destination; that somebody who is a user there "
    "already is an administrator at one end only.",
    "name": "The missing name of a nameless run: MLflow gives every run one.",
}

QUOTED = ("plain.txt", "with space.txt", "é.txt", "100%.txt", "a:b*c?.txt", "CON", ".hidden", "ends.", "artifacts")


def _told(facts: Iterator[str], words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = list(facts)
    if set(names) != set(words):
        raise KeyError(f"docs/values.py and the code differ in {sorted(set(names) ^ set(words))}")
    for name in names:
        yield f"`{name}`", words[name]


def place_settings() -> Iterator[tuple[str, str]]:
    return _told(iter(PlaceSettings.model_fields), PLACE)


def states() -> Iterator[tuple[str, str]]:
    return _told(iter(STATES), STATE)


def losses() -> Iterator[tuple[str, str]]:
    return _told(iter([*FIELDS, "link", "notebook", "secret"]), LOSS)


class _Asked(dict[str, str]):
    """An environment that notes which variables are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        self.names.append(key)
        return default


def role_variables() -> Iterator[tuple[str, str]]:
    for role, words in zip(ROLES, ("the source", "the destination"), strict=True):
        asked = _Asked()
        Config(Settings(), None).place("http://localhost:5000", role, asked)
        for name in asked.names:
            yield f"`{name}`", f"`{name.removeprefix(f'MLFLOW_MIGRATION_{role}_').lower()}` of {words}"
        for family in ("DATABRICKS", "ARM"):
            yield f"`MLFLOW_MIGRATION_{role}_{family}_…`", f"`{family}_…` of databricks-sdk, for {words} only"


def kinds() -> Iterator[tuple[str, str, str, str]]:
    for name, kind in KINDS.items():
        file, rows = f"`{name}.json`", ", ".join(f"`{row}.jsonl`" for row in kind.ROWS)
        if name in SHARDED:
            file, rows = "a line of a shard", ", ".join(f"`rows.{row}`" for row in kind.ROWS)
        yield name, file, rows, ", ".join(kind.NEEDS)


def coverage() -> Iterator[tuple[str, str, str, str, str]]:
    for name, kind in KINDS.items():
        told = kind.COVERAGE
        yield f"`{name}`", told.since, told.carried, told.kept_beside, told.lost


def bundle_constants() -> Iterator[tuple[str, str]]:
    yield "format version (`info.format` of the manifest)", f"`{layout.FORMAT}`"
    yield "manifest, written last", f"`{layout.MANIFEST}`"
    yield "checksums of every other file", f"`{layout.SUMS}`"
    yield "what was asked for and is not there", f"`{layout.FAILURES}`"
    yield "folder of an object's artifacts", f"`{layout.ARTIFACTS}/`"
    yield "marks a folder while it is written", f"`{layout.MARK}`"
    yield "ending of a file on its way", f"`{layout.PART}`"
    yield "longest file name before it is shortened to a digest", f"{layout.LONGEST_NAME} bytes"
    yield "largest JSON file that is read", f"{manifest.LARGEST_JSON // 1024**2} MiB"
    yield "deepest JSON that is read", f"{manifest.DEEPEST_JSON} levels"
    yield "lines of a shard at most", f"{shards.MOST_LINES:,}"
    yield "size of a shard at most", f"{shards.LARGEST_SHARD // 1024**2} MiB"
    yield "largest object in a line; a larger one has a folder", f"{shards.LARGEST_LINE // 1024**2} MiB"
    yield "longest line of a `.jsonl` file that is read", f"{shards.LONGEST_LINE // 1024**2} MiB"


def quoted_names() -> Iterator[tuple[str, str]]:
    for name in QUOTED:
        yield f"`{name}`", f"`{layout.quoted(name)}`"


def _fenced(document: Any) -> str:
    return f"```json\n{json.dumps(document, indent=1, ensure_ascii=False)}\n```\n"


def moving_document() -> str:
    """The document of a made-up job, made by the code that makes the real ones."""
    report = Report("copy-experiments", "http://old:5000", "http://new:5000")
    report.add(Row("trace", "*", "12 at the source", "unsupported", "this version doesn't carry this kind yet"))
    report.add(Row("experiment", "1", "wine", "same", new_id="7"))
    report.add(Row("run", "5a…", "first", "done", new_id="c3…"), 20480)
    report.add(Row("run", "8e…", "second", "failed", "its experiment did not arrive: source experiment 2"))
    report.requests = {"source": 23, "destination": 31}
    report.seconds = 1.5
    return _fenced(report.as_json())


def comparing_document() -> str:
    """The document of a made-up comparison."""
    result = Comparison("verify", "http://old:5000", "http://new:5000", seconds=0.9)
    result.count("run", "equal")
    result.count("run", "different")
    result.add(Difference("!", "run", "5a…", "first", "params.alpha", "0.5", "absent"))
    result.count("run", "different")
    reason = "http://old:5000 answered 500 each time: disk I/O error"
    result.add(Difference("!", "run", "8e…", "second", UNREAD, reason))
    return _fenced(result.as_json())
