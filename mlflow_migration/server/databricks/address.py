"""From `databricks[://PROFILE]` or `databricks-uc[://PROFILE]` to a host and credentials, by databricks-sdk.

The SDK resolves them (profiles, tokens, OAuth, OIDC, Azure, the CLI's login) and keeps them fresh; requests are sent by
`Rest`. One `Config` for each place: making one costs a request to `/.well-known/databricks-config`.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from databricks.sdk.config import Config, ConfigAttribute

from mlflow_migration.errors import AccessError, UsageError
from mlflow_migration.server.address import DATABRICKS_UC, Credentials, Endpoint, client_headers, printable

T = TypeVar("T")

PROFILE = "DATABRICKS_CONFIG_PROFILE"
AUTH_TYPE = "DATABRICKS_AUTH_TYPE"
WHO = frozenset({"DATABRICKS_CLIENT_ID", "DATABRICKS_USERNAME", "ARM_CLIENT_ID", "ARM_TENANT_ID"})
"""What says who logs in and not how: a way to log in that is named farther off still counts."""
HOW = frozenset(
    {AUTH_TYPE, "DATABRICKS_OIDC_TOKEN_ENV", "DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_OIDC_TOKEN_FILE"}
)
"""What names a way to log in, and holds no secret: a CI sets it for whoever it lets in."""
HOST = "DATABRICKS_HOST"
BESIDE_A_PROFILE = frozenset({"DATABRICKS_CONFIG_FILE", "DATABRICKS_CLI_PATH", "ARM_ENVIRONMENT"})
"""What of the environment still counts where a profile is named: nothing that says who one is, or where."""
OF_ONE_HOST = frozenset({"DATABRICKS_TOKEN", "DATABRICKS_USERNAME", "DATABRICKS_PASSWORD", PROFILE})
"""What lets in to one workspace; a service principal's id and secret are its account's."""
PATIENCE = 10
"""Seconds for asking a host what it is: one that isn't there is said so soon."""
HINT = (
    "give databricks://PROFILE of ~/.databrickscfg, or set DATABRICKS_HOST and one way to log in "
    "(MLFLOW_MIGRATION_SRC_DATABRICKS_… and _DST_… where the two workspaces differ)"
)
REFUSED = "log in again, or check the token: databricks auth env --profile … shows what is used"


class _Unified(Config):
    """Takes its settings from one mapping in place of the whole process's environment: a job speaks to two workspaces,
    and a token in the environment must not reach the host of a profile that was named."""

    def __init__(self, settings: Mapping[str, str], skip_verify: bool) -> None:
        self._settings = settings
        super().__init__(
            product="mlflow-migration",
            product_version=metadata.version("mlflow-migration"),
            retry_timeout_seconds=PATIENCE,
            http_timeout_seconds=PATIENCE,
            skip_verify=skip_verify or None,
        )

    def _load_from_env(self) -> None:
        for attribute in self.attributes():
            for name in _names(attribute):
                if name in self._settings and getattr(self, attribute.name) is None:
                    setattr(self, attribute.name, self._settings[name])


def endpoint(uri: str, given: Credentials) -> Endpoint:
    """The endpoint of a workspace.

    `given.databricks`, by the names of the SDK's environment variables, goes before the environment; ways to log in
    are never mixed: where a nearer place names one, those of the environment don't count, and a named profile counts
    alone. Raises UsageError where no host or no way to log in is found, or more than one.
    """
    refuse_workspace(given)
    return endpoint_of(uri, configured(uri, given), given)


def refuse_workspace(given: Credentials) -> None:
    """Raise UsageError where one of MLflow's own workspaces is asked for."""
    if given.workspace:
        raise UsageError(
            f"a Databricks workspace has none in it: {given.workspace!r}",
            hint="write --workspace SRC= or --workspace =DST for the one end that has MLflow's workspaces",
        )


def configured(uri: str, given: Credentials) -> Config:
    """Whom a workspace's address logs in as, by databricks-sdk. Raises UsageError, as `endpoint`."""
    Config.attributes()  # Found once, of the class itself: a subclass would find none.
    return _configured(uri, _settled(uri, given), bool(given.insecure_tls))


def of_config(config: Config) -> dict[str, str]:
    """The settings of a login that databricks-sdk has resolved already, by its variables: nothing of the environment
    is mixed with them. Secrets are among them; never print it."""
    found = {_names(each)[0]: getattr(config, each.name) for each in Config.attributes() if _names(each)}
    # What a profile says stands in the other settings by now.
    return {name: str(value) for name, value in found.items() if type(value) in {str, int} and name != PROFILE}


def endpoint_of(uri: str, config: Config, given: Credentials) -> Endpoint:
    """The endpoint of a workspace that is logged in to."""
    fixed = client_headers(uri)
    fixed["User-Agent"] = f"{config.user_agent} {fixed.get('User-Agent', '')}".strip()
    if workspace := getattr(config, "workspace_id", None):  # Not before databricks-sdk 0.90.
        fixed["x-databricks-org-id"] = str(workspace)

    def headers() -> dict[str, str]:
        return {**fixed, **authenticated(uri, config.authenticate)}

    host = str(config.host).rstrip("/")
    return Endpoint(
        host=host,
        headers=headers,
        auth=None,
        verify=given.ca_bundle or not given.insecure_tls,
        cert=given.client_cert,
        dialect=urlsplit(uri).scheme or uri,
        workspace_id=str(config.workspace_id or ""),
        renew=lambda: authenticated(uri, config.init_auth),
        login=str(config.auth_type),
        # A workspace's profile is called so on one machine; its host is what all know it by.
        address=printable(host),
        hint=REFUSED,
    )


def _names(attribute: ConfigAttribute) -> list[str]:
    """The variables of a setting. Aliases came after databricks-sdk 0.90."""
    return [name for name in (attribute.env, *getattr(attribute, "env_aliases", ())) if name]


def profile_of(uri: str) -> str:
    """The profile an address names, "" where it names none. Raises UsageError for a secret scope's."""
    _, _, rest = uri.partition("://")
    if ":" in rest:
        raise UsageError(
            f"not a profile's address: {printable(uri)}",
            "credentials kept in a secret scope (databricks://SCOPE:PREFIX) can only be read inside a notebook",
            "name a profile of ~/.databrickscfg, or set MLFLOW_MIGRATION_SRC_DATABRICKS_HOST and _TOKEN (or _DST_…)",
        )
    return unquote(rest.rstrip("/"))


def with_registry(tracking: str, registry: str) -> str:
    """The address meant by MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI together: a workspace with Unity Catalog where
    the second says so. Raises UsageError where they name two workspaces."""
    if not registry.startswith(DATABRICKS_UC):
        return tracking
    profiles = {profile for profile in (profile_of(tracking), profile_of(registry)) if profile}
    if len(profiles) > 1:
        raise UsageError(
            "MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI name two workspaces",
            f"{printable(tracking)} and {printable(registry)}",
            f"give one address as an option: {printable(registry)}",
        )
    return "://".join([DATABRICKS_UC, *profiles])


def _settled(uri: str, given: Credentials) -> dict[str, str]:
    """All settings of one place by the SDK's variables, the nearest first: the address's profile, what was set for this
    role or in the configuration, the environment."""
    plain = {
        "DATABRICKS_TOKEN": given.token,
        "DATABRICKS_USERNAME": given.username,
        "DATABRICKS_PASSWORD": given.password,
    }
    named = {key: value for key, value in plain.items() if value}
    layers: list[Mapping[str, str]] = [*given.databricks, named, os.environ]
    if profile := profile_of(uri):
        layers.insert(0, {PROFILE: profile})
    return settle(layers)


def settle(layers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """One mapping of settings out of several, the nearest first, without mixing ways to log in. An id alone is none.

    What a farther layer has for a host of its own (a token, a password, a profile) isn't sent to a nearer one's.
    """
    known = {name: bool(each.auth) for each in Config.attributes() for name in _names(each)}
    found: dict[str, str] = {}
    for layer in layers:
        has_profile = PROFILE in found
        has_login = any(known[name] for name in found)
        elsewhere = _is_for_another(layer, found.get(HOST, ""))
        says_how = AUTH_TYPE in found or any(known[name] for name in found.keys() - WHO)
        for name, is_login in known.items():
            value = layer.get(name, "").strip()
            beside = name in BESIDE_A_PROFILE or not has_profile
            mixes = says_how if name in HOW else has_login and (is_login or name == PROFILE)
            if value and beside and not mixes and not (elsewhere and name in OF_ONE_HOST):
                found.setdefault(name, value)
    return found


def _is_for_another(layer: Mapping[str, str], host: str) -> bool:
    """Whether a layer is about a workspace of its own, where a nearer one named `host`."""
    own = layer.get(HOST, "").strip()
    return bool(host) and (own.rstrip("/") != host.rstrip("/") if own else bool(layer.get(PROFILE, "").strip()))


def _configured(uri: str, settings: Mapping[str, str], skip_verify: bool) -> Config:
    try:
        config = _Unified(settings, skip_verify)
    except (ValueError, configparser.Error) as error:
        # What follows lists the settings that were found; a broken file's text may hold a secret.
        why = str(error).partition(" Config: ")[0].partition(" Env: ")[0] if isinstance(error, ValueError) else ""
        raise UsageError(
            f"Databricks can't be logged in to: {printable(uri)}",
            _first_line(why) or "~/.databrickscfg is broken",
            HINT,
        ) from None
    if not config.host:
        raise UsageError(f"no workspace is set for {printable(uri)}", "DATABRICKS_HOST is empty", HINT)
    return config


def authenticated(uri: str, ask: Callable[[], T]) -> T:
    """What `ask`, a method of `Config`, gives. Raises AccessError where there is no token to be had."""
    try:
        return ask()
    except (ValueError, OSError) as error:
        # The SDK's own errors and those of requests are OSErrors.
        raise AccessError(f"{printable(uri)} gives no token", _first_line(str(error)), REFUSED) from None


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:300]
