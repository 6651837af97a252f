"""What the emulator holds: an account with principals, metastores and workspaces.

Modules keep what is theirs in *parts*: `workspace.part(Secrets)` is that workspace's one `Secrets`, made when first
asked for and gone after a reset. So a new area adds no field here.
"""

import base64
import json
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from tests.databricks import profiles
from tests.databricks.faults import Faults

ADMIN = "admin@example.com"
Part = TypeVar("Part")


@runtime_checkable
class Closing(Protocol):
    """A part that holds something open."""

    def close(self) -> None:
        """End it."""


class Parts:
    """One object per type, made without arguments when first asked for."""

    def __init__(self) -> None:
        self._held: dict[type, Any] = {}
        self._lock = threading.RLock()

    def get(self, kind: type[Part]) -> Part:
        """The one object of this type."""
        with self._lock:
            if kind not in self._held:
                self._held[kind] = kind()
            held: Part = self._held[kind]
            return held

    def clear(self) -> None:
        """Forget all of them; those that hold something open, such as processes, `close()` it."""
        with self._lock:
            held = [*self._held.values()]
            self._held.clear()
        for one in held:
            if isinstance(one, Closing):
                one.close()


@dataclass(frozen=True)
class Principal:
    """A user (named by mail address) or a service principal (named by its application id)."""

    name: str
    id: int
    display_name: str
    service: bool = False


@dataclass(frozen=True)
class Client:
    """The OAuth credentials of a service principal."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class Issued:
    """An OAuth access token: whose, and until when (`time.time()`)."""

    principal: str
    ends: float


@dataclass
class Metastore:
    """A Unity Catalog metastore; workspaces attached to it share its objects and its files."""

    name: str
    folder: Path
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    parts: Parts = field(default_factory=Parts)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def part(self, kind: type[Part]) -> Part:
        """This metastore's one object of that type."""
        return self.parts.get(kind)


@dataclass
class Account:
    """Who there is, with which credentials; and the metastores and workspaces."""

    folder: Path
    open_workspace: "Callable[[str, str], Workspace]" = field(repr=False)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token_seconds: float = 3600
    expired_status: int = 401
    principals: dict[str, Principal] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    group_ids: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    clients: dict[str, Client] = field(default_factory=dict, repr=False)
    issued: dict[str, Issued] = field(default_factory=dict, repr=False)
    federated: dict[str, str] = field(default_factory=dict, repr=False)
    refreshes: dict[str, str] = field(default_factory=dict, repr=False)
    metastores: dict[str, Metastore] = field(default_factory=dict)
    workspaces: "dict[str, Workspace]" = field(default_factory=dict)
    # What a reset leaves as it is, such as servers that take long to start; its owner clears it at the end.
    lasting: Parts = field(default_factory=Parts, repr=False)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _last_id: int = 4_000_000_000_000_000

    def __post_init__(self) -> None:
        self.add_user(ADMIN, "admins")

    def workspace(self, name: str, metastore: str = "main") -> "Workspace":
        """A running workspace attached to that metastore; the same one whenever it is asked for again."""
        workspace = self.open_workspace(name, metastore)
        profiles.write(self.config_file, {name: one.url for name, one in self.workspaces.items()}, self.token())
        return workspace

    @property
    def config_file(self) -> Path:
        """A .databrickscfg with a profile for each workspace: the admin's personal access token."""
        return self.folder / "databrickscfg"

    def environment(self) -> dict[str, str]:
        """What a command needs to find the profiles, and nothing of a real account."""
        return {"DATABRICKS_CONFIG_FILE": str(self.config_file)}

    def new_id(self) -> int:
        """A number no other object of this account has."""
        with self.lock:
            self._last_id += 1
            return self._last_id

    def add_user(self, name: str, *groups: str) -> Principal:
        """A user in `groups` (every one is also in `users`, and counts as one of `account users`)."""
        return self._add(Principal(name, self.new_id(), name.partition("@")[0]), groups)

    def add_service_principal(self, name: str, *groups: str) -> Client:
        """A service principal shown as `name`; returns its OAuth credentials. Its principal name is the client id."""
        client = Client(str(uuid.uuid4()), "dose" + secrets.token_hex(16))
        self._add(Principal(client.client_id, self.new_id(), name, service=True), groups)
        self.clients[client.client_id] = client
        return client

    def _add(self, principal: Principal, groups: tuple[str, ...]) -> Principal:
        with self.lock:
            self.principals[principal.name] = principal
            for group in ("users", *groups):
                self.add_group(group, principal.name)
            return principal

    def add_group(self, name: str, *members: str) -> None:
        """A group, or more members of one: principals' or groups' names."""
        with self.lock:
            self.group_ids.setdefault(name, self.new_id())
            self.groups.setdefault(name, set()).update(members)

    def groups_of(self, principal: str) -> set[str]:
        """The groups a principal is in, directly or by another group, and `account users`."""
        found = {"account users"} if principal in self.principals else set()
        names = {principal}
        while names:
            names = {group for group, members in self.groups.items() if members & names} - found
            found |= names
        return found

    def token(self, principal: str = ADMIN) -> str:
        """A personal access token of a principal; always the same one until it is revoked or the account reset."""
        if principal not in self.principals:
            raise KeyError(f"no principal {principal}")
        with self.lock:
            for token, owner in self.tokens.items():
                if owner == principal:
                    return token
            token = "dapi" + secrets.token_hex(16)
            self.tokens[token] = principal
            return token

    def revoke(self, principal: str) -> None:
        """End all personal access tokens of a principal."""
        with self.lock:
            for token in [token for token, owner in self.tokens.items() if owner == principal]:
                del self.tokens[token]

    def federate(self, client_id: str, subject: str) -> str:
        """An identity provider's token that token exchange takes for this service principal."""
        claims = {"iss": "https://idp.example.com", "sub": subject, "exp": int(time.time()) + 3600}
        token = _jwt(claims)
        self.federated[token] = client_id
        return token

    def refresh_token(self, principal: str = ADMIN) -> str:
        """What `databricks auth login` and `az login` of that principal leave behind: it buys access tokens."""
        token = secrets.token_urlsafe(24)
        self.refreshes[token] = principal
        return token

    def issue(self, principal: str) -> tuple[str, Issued]:
        """A new OAuth access token, good for `token_seconds`."""
        issued = Issued(principal, time.time() + self.token_seconds)
        claims = {"sub": principal, "exp": int(issued.ends), "scope": "all-apis"}
        token = _jwt(claims if self.principals[principal].service else {**claims, "upn": principal})
        with self.lock:
            self.issued[token] = issued
        return token, issued

    def expire_tokens(self) -> None:
        """Every OAuth token issued so far is expired from now on."""
        with self.lock:
            self.issued = {token: Issued(issued.principal, 0) for token, issued in self.issued.items()}

    def reset(self) -> None:
        """As it was at first: the admin alone. Workspaces and metastores begin empty when they are next asked for."""
        with self.lock:
            for held in (self.principals, self.groups, self.group_ids, self.tokens, self.clients, self.issued):
                held.clear()
            self.federated.clear()
            self.refreshes.clear()
            empty(self.folder)
            self.token_seconds, self.expired_status = 3600, 401
            self.add_user(ADMIN, "admins")
            for workspace in self.workspaces.values():
                workspace.parts.clear()
            self.metastores.clear()
            self.workspaces.clear()


@dataclass
class Workspace:
    """One workspace: where it answers, what is attached to it, and what was asked of it."""

    name: str
    account: Account
    metastore: Metastore
    folder: Path
    id: int
    url: str = ""
    # The address of its own MLflow server, which is started when first asked for.
    mlflow: Callable[[], str] = field(default=lambda: "", repr=False)
    cloud: str = "AWS"
    faults: Faults = field(default_factory=Faults)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    parts: Parts = field(default_factory=Parts)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def profile(self) -> str:
        """Its section in the account's .databrickscfg."""
        return self.name

    def part(self, kind: type[Part]) -> Part:
        """This workspace's one object of that type."""
        return self.parts.get(kind)

    def token(self, principal: str = ADMIN) -> str:
        """A personal access token."""
        return self.account.token(principal)

    def headers(self, principal: str = ADMIN) -> Mapping[str, str]:
        """What a plain HTTP client sends to be that principal."""
        return {"Authorization": f"Bearer {self.token(principal)}"}

    def reset(self) -> None:
        """No files, no faults, nothing asked yet (its MLflow server is reset by who started it)."""
        self.parts.clear()
        self.faults.clear()
        self.requests.clear()
        self.cloud = "AWS"
        empty(self.folder)


def empty(folder: Path) -> None:
    """Make `folder` exist and hold nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _jwt(claims: Mapping[str, Any]) -> str:
    """A token clients can read as a JSON web token; its signature is random, so it can't be guessed."""
    parts: tuple[Mapping[str, Any], ...] = ({"alg": "RS256", "typ": "JWT"}, {**claims, "jti": str(uuid.uuid4())})
    shown = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*shown, secrets.token_urlsafe(32)))
