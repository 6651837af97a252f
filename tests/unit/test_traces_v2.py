"""Infos of traces as servers before 3.2 give them, in the later form: MLflow's own conversion is the judge."""

import json

import pytest
from mlflow.entities.trace_info_v2 import TraceInfoV2
from mlflow.entities.trace_status import TraceStatus
from mlflow.utils.proto_json_utils import message_to_json

from mlflow_migration.server import traces_v2
from tests.rest import Json

METADATA = {"mlflow.traceInputs": '{"q": "é"}', "mlflow.sourceRun": "1" * 32, "empty": ""}
TAGS = {"mlflow.traceName": "näme", "own": "x" * 300}


def forms(status: str, start: int, took: int | None) -> tuple[Json, Json]:
    """One trace in the old and in the later form, as MLflow writes them."""
    info = TraceInfoV2("0" * 32, "7", start, took, TraceStatus(status), METADATA, TAGS)
    return json.loads(message_to_json(info.to_proto())), json.loads(message_to_json(info.to_v3().to_proto()))


@pytest.mark.parametrize("status", ["OK", "ERROR", "TRACE_STATUS_UNSPECIFIED"])
@pytest.mark.parametrize(
    "start", [0, 1, 999, 1000, 1_700_000_000_123, 1_700_000_000_100, -1, -86_400_000, 253_402_300_799_999]
)
@pytest.mark.parametrize("took", [0, 1, 10, 1000, 61_234, 100_000_000_001, -5])
def test_an_old_info_becomes_what_mlflow_makes_of_it(status: str, start: int, took: int) -> None:
    old, new = forms(status, start, took)
    assert traces_v2.as_v3(old) == new


def test_the_duration_of_a_trace_in_progress_is_not_known() -> None:
    old, new = forms("IN_PROGRESS", 1_700_000_000_123, None)
    assert "execution_duration" not in new
    assert traces_v2.as_v3(old) == new
