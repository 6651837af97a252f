"""Prompts in Unity Catalog as MLflow's client has them: /api/2.0/mlflow/unity-catalog/prompts….

Paths and verbs are those of mlflow/protos/unity_catalog_prompt_service.proto. A template is the JSON text the client
sends. A prompt is in the name space of functions; its schema's privileges CREATE FUNCTION, EXECUTE and MANAGE are what
Databricks' page "Create and edit prompts" asks for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors, tags
from tests.databricks.access import Securable
from tests.databricks.calls import Call, Handler
from tests.databricks.catalogue import Entry
from tests.databricks.paging import page
from tests.databricks.state import Metastore, Workspace

PREFIX = "/api/2.0/mlflow/unity-catalog"
MOST = 100

Answer = Mapping[str, Any] | None


@dataclass
class PromptVersion:
    """One version of a prompt."""

    number: int
    template: str
    description: str
    tags: dict[str, str]
    created: int = field(default_factory=catalogue.now)


@dataclass
class Prompt:
    """A prompt; the number of a deleted version isn't given again."""

    entry: Entry
    tags: dict[str, str]
    aliases: dict[str, int] = field(default_factory=dict)
    versions: dict[int, PromptVersion] = field(default_factory=dict)
    last: int = 0

    @property
    def name(self) -> str:
        """Its full name."""
        return self.entry.securable.name


@dataclass
class Prompts:
    """The prompts of a metastore, and what was linked: (prompt, version, what, id)."""

    held: dict[str, Prompt] = field(default_factory=dict)
    links: list[tuple[str, str, str, str]] = field(default_factory=list)


def prompts(metastore: Metastore) -> Prompts:
    """The prompts of a metastore."""
    return metastore.part(Prompts)


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of prompts."""
    one, version = "prompts/{name}", "prompts/{name}/versions/{version}"
    table: dict[str, Handler] = {
        "POST prompts": _create,
        "POST prompts/search": _search,
        f"GET {one}": _get,
        f"PATCH {one}": _update,
        f"DELETE {one}": _delete,
        f"POST {one}/tags": _set_tag,
        f"DELETE {one}/tags/{{key}}": _delete_tag,
        f"POST {one}/aliases/{{alias}}": _set_alias,
        f"DELETE {one}/aliases/{{alias}}": _delete_alias,
        f"POST {one}/versions": _create_version,
        f"POST {one}/versions/search": _search_versions,
        f"GET {one}/versions/by-alias/{{alias}}": _get_by_alias,
        f"GET {version}": _get_version,
        f"PATCH {version}": _update_version,
        f"DELETE {version}": _delete_version,
        f"POST {version}/tags": _set_version_tag,
        f"DELETE {version}/tags/{{key}}": _delete_version_tag,
        "POST prompt-versions/links-to-models": _link,
        "POST prompt-versions/links-to-traces": _link,
        "POST prompt-versions/links-to-runs": _link,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _named(name: str) -> Securable:
    if name.count(".") != 2 or not all(name.split(".")):
        raise errors.invalid(
            f"Bad prompt name '{name}': please specify all three levels in the form"
            " `catalog_name.schema_name.prompt_name`"
        )
    return Securable("function", name.lower())


def _existing(call: Call) -> Prompt:
    wanted = _named(call.names["name"])
    catalogue.existing(call.workspace, wanted.ancestry[1])
    access.require_use(call.workspace, call.principal, wanted)
    held = prompts(call.workspace.metastore).held
    if wanted.name not in held:
        raise errors.missing(f"Prompt '{wanted.name}' does not exist.")
    return held[wanted.name]


def _readable(call: Call) -> Prompt:
    prompt = _existing(call)
    access.require(call.workspace, call.principal, "EXECUTE", prompt.entry.securable)
    return prompt


def _manageable(call: Call) -> Prompt:
    prompt = _existing(call)
    catalogue.require_manage(call.workspace, call.principal, prompt.entry.securable)
    return prompt


def _create(call: Call) -> Answer:
    sent = call.json.get("prompt") or {}
    wanted = _named(str(call.json.get("name") or sent.get("name") or ""))
    schema = wanted.ancestry[1]
    catalogue.existing(call.workspace, schema)
    access.require_use(call.workspace, call.principal, wanted)
    access.require(call.workspace, call.principal, "CREATE_FUNCTION", schema)
    own = tags.read(sent.get("tags"))
    metastore = call.workspace.metastore
    with metastore.lock:
        if wanted in catalogue.entries(metastore):
            # Not RESOURCE_ALREADY_EXISTS: MLflow's register_prompt goes on at this code alone.
            raise errors.ApiError(409, "ALREADY_EXISTS", f"Prompt '{wanted.name}' already exists.")
        entry = catalogue.add(metastore, wanted, call.principal.name, {"comment": sent.get("description", "")})
        prompt = prompts(metastore).held[wanted.name] = Prompt(entry, own)
    return _prompt(prompt)


def _search(call: Call) -> Answer:
    """Those of one schema, by the only filter there is: a name, or the beginning of one."""
    place = call.json.get("catalog_schema") or {}
    schema = catalogue.securable("schema", f"{place.get('catalog_name', '')}.{place.get('schema_name', '')}")
    catalogue.existing(call.workspace, schema)
    access.require_use(call.workspace, call.principal, schema)
    access.require(call.workspace, call.principal, "USE_SCHEMA", schema)
    fits = _filter(call.json.get("filter") or "")
    seen = [
        prompt
        for name, prompt in sorted(prompts(call.workspace.metastore).held.items())
        if name.startswith(f"{schema.name}.")
        and fits.fullmatch(name.rpartition(".")[2])
        and catalogue.may_see(call.workspace, call.principal, prompt.entry.securable)
    ]
    found, following = page(call, seen, MOST)
    return {"prompts": [_prompt(prompt) for prompt in found], **following}


def _filter(text: str) -> re.Pattern[str]:
    if not text.strip():
        return re.compile(".*")
    parsed = re.fullmatch(r"""\s*name\s*(=|LIKE|ILIKE)\s*(['"])([^'"]*)\2\s*""", text, re.IGNORECASE)
    if not parsed:
        raise errors.invalid(f"Unsupported filter: {text}")
    return re.compile(".*".join(map(re.escape, parsed[3].lower().split("%"))))


def _get(call: Call) -> Answer:
    return _prompt(_readable(call))


def _update(call: Call) -> Answer:
    prompt = _manageable(call)
    sent = call.json.get("prompt") or call.json
    if "description" in sent:
        prompt.entry.shown["comment"] = sent["description"]
    prompt.entry.touch(call.principal.name)
    return _prompt(prompt)


def _delete(call: Call) -> Answer:
    prompt, metastore = _manageable(call), call.workspace.metastore
    if prompt.versions:
        raise errors.ApiError(
            400, "INVALID_PARAMETER_VALUE", f"Cannot delete prompt '{prompt.name}' with existing versions."
        )
    with metastore.lock:
        del prompts(metastore).held[prompt.name]
        catalogue.remove(metastore, prompt.entry.securable)
    return None


def _set_tag(call: Call) -> Answer:
    tags.put(_manageable(call).tags, call.need("key"), str(call.json.get("value", "")))
    return None


def _delete_tag(call: Call) -> Answer:
    _manageable(call).tags.pop(call.names["key"], None)
    return None


def _set_alias(call: Call) -> Answer:
    prompt = _manageable(call)
    prompt.aliases[call.names["alias"]] = _version_of(prompt, call.need("version")).number
    return None


def _delete_alias(call: Call) -> Answer:
    _manageable(call).aliases.pop(call.names["alias"], None)
    return None


def _create_version(call: Call) -> Answer:
    prompt = _manageable(call)
    sent = call.json.get("prompt_version") or {}
    own = tags.read(sent.get("tags"))
    if not sent.get("template"):
        raise errors.invalid("Missing required field: template")
    with call.workspace.metastore.lock:
        prompt.last += 1
        version = PromptVersion(prompt.last, sent["template"], sent.get("description", ""), own)
        prompt.versions[version.number] = version
    return _version(prompt, version)


def _search_versions(call: Call) -> Answer:
    prompt = _readable(call)
    found, following = page(call, list(reversed(prompt.versions.values())), MOST)
    return {"prompt_versions": [_version(prompt, version) for version in found], **following}


def _version_of(prompt: Prompt, number: str) -> PromptVersion:
    if not number.isdigit():
        raise errors.invalid(f"Prompt version must be an integer, got '{number}'")
    if int(number) not in prompt.versions:
        raise errors.missing(f"Prompt '{prompt.name}' version {number} does not exist.")
    return prompt.versions[int(number)]


def _get_version(call: Call) -> Answer:
    prompt = _readable(call)
    return _version(prompt, _version_of(prompt, call.names["version"]))


def _get_by_alias(call: Call) -> Answer:
    prompt = _readable(call)
    if call.names["alias"] not in prompt.aliases:
        raise errors.missing(f"Alias '{call.names['alias']}' does not exist for prompt '{prompt.name}'.")
    return _version(prompt, prompt.versions[prompt.aliases[call.names["alias"]]])


def _update_version(call: Call) -> Answer:
    prompt = _manageable(call)
    version = _version_of(prompt, call.names["version"])
    sent = call.json.get("prompt_version") or call.json
    version.description = sent.get("description", version.description)
    return _version(prompt, version)


def _delete_version(call: Call) -> Answer:
    prompt = _manageable(call)
    gone = _version_of(prompt, call.names["version"])
    del prompt.versions[gone.number]
    prompt.aliases = {alias: number for alias, number in prompt.aliases.items() if number != gone.number}
    return None


def _set_version_tag(call: Call) -> Answer:
    version = _version_of(_manageable(call), call.names["version"])
    tags.put(version.tags, call.need("key"), str(call.json.get("value", "")))
    return None


def _delete_version_tag(call: Call) -> Answer:
    _version_of(_manageable(call), call.names["version"]).tags.pop(call.names["key"], None)
    return None


def _link(call: Call) -> Answer:
    """`links-to-models` has `model_ids`, and so on."""
    what = call.path.rpartition("-")[2].removesuffix("s")
    state = prompts(call.workspace.metastore)
    for entry in call.json.get("prompt_versions") or ():
        for one in call.json.get(f"{what}_ids") or ():
            state.links.append((str(entry["name"]), str(entry["version"]), what, str(one)))
    return None


def _aliases(prompt: Prompt, number: int | None = None) -> list[dict[str, str]]:
    wanted = sorted((alias, at) for alias, at in prompt.aliases.items() if number in (None, at))
    return [{"alias": alias, "version": str(at)} for alias, at in wanted]


def _prompt(prompt: Prompt) -> dict[str, Any]:
    entry = prompt.entry
    return {
        "name": prompt.name,
        "creation_timestamp": _time(entry.created),
        "last_updated_timestamp": _time(entry.updated),
        "description": entry.shown.get("comment", ""),
        "tags": tags.shown(prompt.tags),
        "aliases": _aliases(prompt),
    }


def _version(prompt: Prompt, version: PromptVersion) -> dict[str, Any]:
    return {
        "name": prompt.name,
        "version": str(version.number),
        "creation_timestamp": _time(version.created),
        "last_updated_timestamp": _time(version.created),
        "description": version.description,
        "template": version.template,
        "tags": tags.shown(version.tags),
        "aliases": _aliases(prompt, version.number),
    }


def _time(milliseconds: int) -> str:
    """A timestamp as protobuf's JSON has it."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{catalogue.utc(seconds)}.{rest:03}Z"
