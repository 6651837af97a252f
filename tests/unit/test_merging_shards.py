"""Which shard a thing is in, and what shards say together."""

import json
from collections import Counter

import pytest

from mlflow_migration.bundle import merge
from mlflow_migration.errors import BundleError
from mlflow_migration.places import Shard


def test_a_shard_is_the_same_on_every_machine() -> None:
    # The first 16 digits that sha256sum gives, modulo 8, plus 1.
    assert [number for number in range(1, 9) if Shard(number, 8).holds("17")] == [8]
    assert [number for number in range(1, 9) if Shard(number, 8).holds("modèle é")] == [2]


def test_every_id_is_in_one_shard_and_shards_are_about_equal() -> None:
    held = Counter(number for id_ in range(8000) for number in range(1, 9) if Shard(number, 8).holds(str(id_)))
    assert sum(held.values()) == 8000
    assert min(held.values()) > 850


def test_what_concerns_the_whole_job_is_counted_once() -> None:
    row = {"kind": "user", "id": "*", "name": "users", "state": "skipped", "reason": "not asked for"}
    own = {"kind": "run", "id": "5", "name": "a", "state": "failed", "reason": "gone"}
    states = {"asked": 1, "done": 0, "skipped": 1}
    shards = [({"user": states}, [json.dumps(row)]), ({"user": states, "run": {"asked": 1, "failed": 1}}, [])]
    shards[1][1].extend([json.dumps(own), json.dumps(row)])
    counts, lines = merge.added_up(shards)
    assert counts == {"run": {"asked": 1, "failed": 1}, "user": states}
    assert sorted(map(json.loads, lines), key=str) == sorted([row, own], key=str)


@pytest.mark.parametrize("line", ["no JSON", "[]", "{}", json.dumps({"id": "*", "kind": "nobody", "state": "x"})])
def test_a_row_of_failures_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(BundleError, match=r"failures\.jsonl of shard"):
        merge.added_up([({}, [line]), ({}, [line])])
