"""Fixtures of the tests that move data: a team's server and its bundle, made once."""

from dataclasses import AccountFactory
from tests.databricks.state, asdict
from pathlib


@pytest.fixture
def account(databricks_account: AccountFactory) -> Account:
    return databricks_account()


@pytest.fixture
def workspace(account: Account) -> Workspace:
    return account.workspace("a", metastore="m1")
