"""Fixtures of the tests of apps: a workspace of the emulator."""

import pytest

from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Account, Workspace


@pytest.fixture
def account(databricks_account: AccountFactory) -> Account:
    return databricks_account()


@pytest.fixture
def workspace(account: Account) -> Workspace:
    return account.workspace("a", metastore="m1")
