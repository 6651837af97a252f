"""Fixtures: an account with as many workspaces as a test asks for.

def test_x(databricks_account):
    account = databricks_account()
    west, east = account.workspace("west", metastore="m1"), account.workspace("east", metastore="m2")
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.databricks import pool
from tests.databricks.pool import Pool
from tests.databricks.state import Account

AccountFactory = Callable[[], Account]


@pytest.fixture(scope="session")
def databricks_pool(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """This worker's running workspaces."""
    folder = tmp_path_factory.mktemp("databricks-")
    running = Pool(folder, pool.make_template(template, folder / "template.db"))
    yield running
    running.stop()


@pytest.fixture
def databricks_account(databricks_pool: Pool) -> AccountFactory:
    """The account of this test: only its admin and no workspace at first. Every call gives the same one."""
    databricks_pool.reset()
    return lambda: databricks_pool.account
