"""Logging as the environment asks for it. Only the command line configures logging; the library never does."""

from __future__ import annotations

import logging
import logging.config
import os
from pathlib import Path
from typing import Any

import yaml

from mlflow_migration.errors import UsageError

OUTPUT_FILE = "mlflow_migration_LOG_OUTPUT_FILE"
FORMAT = "mlflow_migration_LOG_FORMAT"
CONFIG_FILE = "mlflow_migration_LOG_CONFIG_FILE"
DEFAULT_FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"
FILE_BYTES = 10 * 1024 * 1024
FILE_BACKUPS = 5


class _Console(logging.Formatter):
    """A person's terminal shows no traceback unless it is asked for."""

    def __init__(self, pattern: str, tracebacks: bool) -> None:
        super().__init__(pattern)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        if self._tracebacks:
            return super().format(record)
        plain = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})
        return super().format(plain)


def configure(verbose: int) -> None:
    """Set up logging: -v shows what is done, -vv every request and tracebacks. Raises UsageError for a bad setting."""
    given = os.environ.get(CONFIG_FILE)
    if given:
        try:
            settings = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
            logging.config.dictConfig(settings)
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise UsageError(f"{CONFIG_FILE} can't be used: {given}", str(error)) from error
        return
    pattern = os.environ.get(FORMAT) or DEFAULT_FORMAT
    try:
        logging.Formatter(pattern)
    except ValueError as error:
        raise UsageError(f"{FORMAT} is not a log format: {pattern!r}", str(error)) from error
    package = logging.getLogger("mlflow_migration")
    package.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    package.propagate = False
    for handler in list(package.handlers):
        package.removeHandler(handler)
    console = logging.StreamHandler()
    console.setLevel((logging.ERROR, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    console.setFormatter(_Console(pattern if verbose else "%(message)s", tracebacks=verbose > 1))
    package.addHandler(console)
    # MLflow tells of every table it makes, whoever asked for quiet.
    logging.getLogger("mlflow.store.db").setLevel(logging.INFO if verbose else logging.WARNING)
    # databricks-sdk warns of what it tries next; what fails in the end is told by this tool.
    logging.getLogger("databricks.sdk").setLevel(logging.INFO if verbose else logging.ERROR)
    output = os.environ.get(OUTPUT_FILE)
    if output:
        package.addHandler(_file(output, pattern))


def _file(output: str, pattern: str) -> Any:
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        handler = ConcurrentRotatingFileHandler(output, maxBytes=FILE_BYTES, backupCount=FILE_BACKUPS, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{OUTPUT_FILE} can't be written: {output}", error.strerror or str(error)) from error
    handler.setFormatter(logging.Formatter(pattern))
    return handler
