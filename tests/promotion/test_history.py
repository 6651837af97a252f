"""What the journal says one can go back to, and what was in use when."""

import pytest

from mlflow_migration.promotion.history import Event, held_at, stack

Told = tuple[str, str, str]


def events(*told: Told, outcome: str = "done") -> list[Event]:
    """Events of (kind, version, previous), a second apart."""
    return [
        Event(
            "prod", at, kind, outcome, "churn", new, old, "champion", "", "", "", "", "", "", "", at * 1000, at * 1000
        )
        for at, (kind, new, old) in enumerate(told, 1)
    ]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("promote", "1", "")], ["", "1"]),
        ([("promote", "1", ""), ("promote", "2", "1")], ["", "1", "2"]),
        ([("promote", "2", "1"), ("rollback", "1", "2")], ["1"]),
        ([("promote", "2", "1"), ("promote", "3", "2"), ("rollback", "2", "3"), ("rollback", "1", "2")], ["1"]),
        ([("promote", "2", "1"), ("rollback", "1", "2"), ("promote", "3", "1")], ["1", "3"]),
        ([("promote", "2", "1"), ("promote", "3", "2"), ("rollback", "1", "3")], ["1"]),
        # Somebody moved the alias by hand, from 2 to 5, before 6 was promoted.
        ([("promote", "2", "1"), ("promote", "6", "5")], ["1", "2", "5", "6"]),
        # Going back to what was never in use here.
        ([("promote", "2", "1"), ("rollback", "9", "2")], ["1", "2", "9"]),
        ([("promote", "1", ""), ("rollback", "", "1")], [""]),
    ],
)
def test_one_goes_back_along_what_was_in_use(told: list[Told], expected: list[str]) -> None:
    assert stack(events(*told), "champion") == expected


def test_what_came_to_nothing_or_was_of_another_alias_counts_for_nothing() -> None:
    found = [*events(("promote", "1", "")), *events(("promote", "2", "1"), outcome="refused")]
    assert stack(found, "champion") == ["", "1"]
    assert stack(found, "challenger") == []


def test_what_was_in_use_at_a_moment_is_what_was_promoted_last_before_it() -> None:
    found = events(("promote", "1", ""), ("promote", "2", "1"), ("rollback", "1", "2"))
    assert [held_at(found, "champion", moment) for moment in (0, 999, 1000, 2500, 9000)] == ["", "", "1", "2", "1"]
