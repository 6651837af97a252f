"""`app create`, `update`, `deploy`, `delete`, `start`, `stop`: what changes an app of a workspace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import click

from mlflow_migration.apps.config import AppConfig, load
from mlflow_migration.cli import answer
from mlflow_migration.cli.app_options import CONFIG, DRY, JSON, NAME, WORKSPACE, YES, configured, file_of, name_of
from mlflow_migration.cli.command import Command, say_error
from mlflow_migration.cli.later import app_lifecycle, app_workspace, config, deploying
from mlflow_migration.cli.later import logs as logging_
from mlflow_migration.errors import DONE, MigrationError, UsageError
from mlflow_migration.report import error_json

F = TypeVar("F", bound=Callable[..., Any])
PATIENCE = 120.0
"""Seconds for which a request is repeated while the workspace is down or busy."""
