"""A database's address as people see it: never with user, password or options in it."""

import pytest

from mlflow_migration.database.connect import printable
from tests.conftest import Run


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:s3cret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("postgresql+psycopg://me:s3/c@db/mlflow?sslmode=require", "postgresql://db/mlflow"),
        ("mysql+pymysql://me:s3?c@db/mlflow", "mysql://db/mlflow"),
        ("postgresql://me:s3#c@db/mlflow/", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://postgres:@/mlflow?host=/run/pg", "postgresql:///run/pg/mlflow"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address: str, shown: str) -> None:
    assert printable(address) == shown


@pytest.mark.parametrize("password", ["s3cret", "s3cret/x", "s3cret?x", "s3cret#x"])
def test_no_message_shows_a_password(password: str, run_here: Run) -> None:
    address = f"postgresql://me:{password}@127.0.0.1:1/mlflow"
    for words in (
        ("export-all", "--tracking-uri", address, "--output-dir", "bundle"),
        ("copy-all", "--src-mlflow-uri", address, "--dst-mlflow-uri", address),
        ("verify", address, address),
        ("http-client", "--tracking-uri", address, "--api", "experiments/search"),
    ):
        ended = run_here(*words)
        assert ended.code, words
        assert "s3cret" not in ended.stdout + ended.stderr, ended
