"""Keeps libpq's password file fresh, so that new connections to PostgreSQL log in with a password that is valid.

Lakebase takes OAuth tokens as passwords. They end after about an hour and are looked at when a connection logs in, so
a server needs no restart when the file behind it is renewed: libpq reads it for every connection it makes.
"""

import logging
import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors.base import DatabricksError

from mlflow_migration.apps.runtime.settings import Lakebase
from mlflow_migration.apps.runtime.status import Status, now

logger = logging.getLogger(__name__)
TOKEN_SECONDS = 3600.0
RETRY_SECONDS = 5.0


class PasswordError(Exception):
    """No password could be had."""


@dataclass(frozen=True)
class Password:
    """A password, and for how many seconds it is good from now on."""

    text: str
    seconds: float


class Passwords:
    """Renews the password file on a thread, at half the life of each password."""

    def __init__(self, lakebase: Lakebase, file: Path, host: str, state: Status) -> None:
        self._lakebase = lakebase
        self._file = file
        self._status = state
        self._ask = _from_file(lakebase.password_file) if lakebase.password_file else _from_databricks(lakebase, host)
        self._every = 1.0 if lakebase.password_file else None
        self._written = ""
        self._next = 1.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="passwords", daemon=True)

    def renew(self) -> float:
        """Write the file anew; returns after how many seconds to do so again. Raises PasswordError."""
        password = self._ask()
        if password.text != self._written:
            write(self._file, self._lakebase, password.text)
            self._written = password.text
            self._status.put("password", renewed=now(), seconds=round(password.seconds), error="")
            logger.info("the database password was renewed")
        elif self._status.part("password").get("error"):
            self._status.put("password", error="")
        self._next = self._every or max(1.0, password.seconds / 2)
        return self._next

    def start(self) -> None:
        """Renew from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()

    def _run(self) -> None:
        wait = self._next
        while not self._closed.wait(wait):
            try:
                wait = self.renew()
            except PasswordError as error:
                logger.error("the database password can't be renewed: %s", error)
                self._status.put("password", error=str(error), error_time=now())
                wait = RETRY_SECONDS


def address(lakebase: Lakebase, password_file: Path) -> str:
    """SQLAlchemy's address, without a password: libpq takes it from the file."""
    query = {"sslmode": lakebase.sslmode, "passfile": str(password_file)}
    if lakebase.schema:
        query["options"] = f"-csearch_path={lakebase.schema}"
    if lakebase.host.startswith("/"):
        where, query["host"], query["port"] = "", lakebase.host, str(lakebase.port)
    else:
        where = f"{lakebase.host}:{lakebase.port}"
    # psycopg2 by name: SQLAlchemy 2.1 takes a plain postgresql:// for psycopg 3.
    user, database = quote(lakebase.user, safe=""), quote(lakebase.database, safe="")
    return f"postgresql+psycopg2://{user}@{where}/{database}?{urlencode(query)}"


def write(file: Path, lakebase: Lakebase, password: str) -> None:
    """Replace the password file in one step, readable by its owner only; raises PasswordError."""
    # One line for every host, so that a name and the address behind it both find it.
    fields = ("*", str(lakebase.port), "*", lakebase.user, password)
    line = ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields)
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".pgpass-")
        with os.fdopen(handle, "w", encoding="utf-8") as sink:
            sink.write(line + "\n")
        Path(name).replace(file)
    except OSError as error:
        raise PasswordError(f"{file}: {error.strerror or error}") from error


def _from_file(source: Path) -> Callable[[], Password]:
    def ask() -> Password:
        try:
            text = source.read_text("utf-8").strip()
        except OSError as error:
            raise PasswordError(f"{source}: {error.strerror or error}") from error
        if not text:
            raise PasswordError(f"{source} is empty")
        return Password(text, TOKEN_SECONDS)

    return ask


def _from_databricks(lakebase: Lakebase, host: str) -> Callable[[], Password]:
    path, body, ends = "/api/2.0/postgres/credentials", {"endpoint": lakebase.endpoint}, "expire_time"
    if not lakebase.endpoint:
        path, ends = "/api/2.0/database/credentials", "expiration_time"

    def ask() -> Password:
        asked: dict[str, Any] = dict(body)
        if not lakebase.endpoint:
            asked = {"instance_names": [lakebase.instance], "request_id": str(uuid.uuid4())}
        try:
            config = Config(host=host or None, retry_timeout_seconds=30, http_timeout_seconds=30)
            answer = cast("dict[str, Any]", WorkspaceClient(config=config).api_client.do("POST", path, body=asked))
        except (DatabricksError, requests.RequestException, OSError, ValueError) as error:
            raise PasswordError(f"{path}: {(str(error) or type(error).__name__).partition(chr(10))[0]}") from error
        if not answer.get("token"):
            raise PasswordError(f"{path} gave no token")
        return Password(str(answer["token"]), _life(answer.get(ends)))

    return ask


def _life(ends: Any) -> float:
    """For how many seconds a token is good; an hour where the answer doesn't say."""
    try:
        # Python 3.10 reads neither Z nor fractions of any length.
        moment = datetime.fromisoformat(re.sub(r"\.\d+", "", str(ends)).replace("Z", "+00:00"))
    except ValueError:
        return TOKEN_SECONDS
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, moment.timestamp() - time.time())
