"""The status page: what it says of a document, and that nothing in one becomes markup."""

from typing import Any

from mlflow_migration.apps.runtime.page import render

SQLITE: dict[str, Any] = {
    "app": "churn",
    "backend": "sqlite",
    "state": "serving",
    "supervised": True,
    "written": "2026-11-21T22:36:00.100+00:00",
    "snapshot": {"generation": "G", "time": "2026-11-21T22:35:45.000+00:00", "age_seconds": 15.2},
    "snapshot_seconds": 30,
    "loss_seconds": 0,
    "restarts": 0,
}


def test_nothing_unsaved_is_shown_as_nothing_lost() -> None:
    text = render(SQLITE)
    assert '<b class="good">nothing</b>' in text and "15 seconds ago" in text and "2026-11-21 22:35:45 UTC" in text


def test_more_than_two_snapshots_late_is_marked() -> None:
    assert '<b class="good">60 seconds</b>' in render({**SQLITE, "loss_seconds": 60})
    assert '<b class="bad">5 minutes</b>' in render({**SQLITE, "loss_seconds": 300})


def test_what_failed_stands_above_everything_else() -> None:
    failing = {"snapshot": {"error": "503", "error_time": "2026-11-21T22:35:45.000+00:00"}, "supervised": False}
    text = render({**SQLITE, **failing, "lease": {"error": "taken"}, "message": "none of them can be used"})
    for said in (
        "none of them can be used",
        "The last snapshot failed (2026-11-21 22:35:45 UTC): 503",
        "The lease can&#x27;t be renewed: taken",
        "the supervisor doesn&#x27;t answer",
    ):
        assert text.index(said) < text.index("In no snapshot yet")


def test_a_backend_without_snapshots_has_no_loss_window() -> None:
    text = render({"app": "churn", "backend": "lakebase", "state": "serving", "password": {"seconds": 3600}})
    assert "In no snapshot yet" not in text and "60 minutes" in text


def test_nothing_of_a_document_becomes_markup() -> None:
    evil = "<script>alert(1)</script>"
    text = render({**SQLITE, "app": evil, "message": evil, "notes": [evil], "state": evil, "last_exit": evil})
    assert "<script" not in text


def test_a_status_that_cannot_be_read_is_a_page_too() -> None:
    assert "can&#x27;t be read" in render({"state": "unknown", "message": "the status can't be read: x"})
