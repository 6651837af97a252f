"""The head of a trace: MLflow's info with assessments, beside it the runs it is linked to; what is portable."""

from __future__ import annotations

import json
from typing import Any

from mlflow_migration.objects.texts import run_ids_in, shared_tag, swap
from mlflow_migration.records import Json, Loss, without_origin

RUNS = "linked_runs"
"""In a head, beside the info: the runs a trace was linked to besides the one that made it."""
TIES = "tied_prompts"
"""In a head, beside the info: the prompt versions a trace is tied to, where its tag tells others."""
SOURCE_RUN = "mlflow.sourceRun"
MODEL = "mlflow.modelId"
ENDPOINT = "mlflow.gateway.endpointId"
JUDGED_IN = "mlflow.assessment.sourceRunId"
LOCATION = "mlflow.artifactLocation"
SPANS_LOCATION = "mlflow.trace.spansLocation"
OF_ITS_PLACE = frozenset({LOCATION, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"})
"""Tags that say where a server keeps a trace."""
FINALIZED = "mlflow.trace.infoFinalized"
PROMPTS = "mlflow.linkedPrompts"
STORED = ("TRACKING_STORE", "ARCHIVE_REPO")
SHOWN_METADATA = 250
SHOWN_TAG = 4096
"""MLflow's REST API shows only so many characters of a trace's metadata and tags (`entities/trace_info_v2.py`)."""
CUT_BY_MLFLOW = frozenset({"mlflow.traceInputs", "mlflow.traceOutputs"})
"""Previews, which MLflow's client cuts itself to that length."""
INFO = ("request_time", "execution_duration", "state")
TEXTS = ("client_request_id", "request_preview", "response_preview")


def experiment_of(info: Json) -> str:
    return str(info["trace_location"]["mlflow_experiment"]["experiment_id"])


def portable(head: Json, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. `swaps` turns run ids into those both ends share."""
    metadata = {key: value for key, value in head.get("trace_metadata", {}).items() if key != FINALIZED}
    for key in (SOURCE_RUN, MODEL):
        if key in metadata:
            metadata[key] = swap(metadata[key], swaps)
    if ENDPOINT in metadata:
        # Endpoints are not always among what is compared, and their ids differ.
        metadata[ENDPOINT] = "an endpoint of the gateway"
    found: Json = {key: head.get(key) for key in INFO}
    found |= {key: head.get(key, "") for key in TEXTS}
    found["metadata"] = metadata
    found["tags"] = {
        key: shared_tag(key, value, swaps) if key == PROMPTS else value for key, value in own_tags(head).items()
    }
    found["assessments"] = {each["assessment_id"]: _assessment(each, swaps) for each in head.get("assessments", ())}
    if TIES in head:
        found[TIES] = {f"{each['name']}/{each['version']}": "tied" for each in head[TIES]}
    found[RUNS] = sorted(swap(run_id, swaps) for run_id in head.get(RUNS, ()))
    return found


def own_tags(head: Json) -> dict[str, str]:
    """The tags a person or MLflow's client set, and where the spans are: in the server's care or in an artifact."""
    tags = {key: value for key, value in without_origin(head.get("tags", {})).items() if key not in OF_ITS_PLACE}
    if tags.get(SPANS_LOCATION) in STORED:
        tags[SPANS_LOCATION] = STORED[0]
    return tags


def _assessment(assessment: Json, swaps: dict[str, str] | None) -> Json:
    found = dict(assessment)
    if "metadata" in found:
        found["metadata"] = {
            key: swap(value, swaps) if key == JUDGED_IN else value for key, value in found["metadata"].items()
        }
    if judge := judging_run(found):
        found["source"] = {**found["source"], "source_id": swap(judge, swaps)}
    if "issue" in found:
        found["assessment_name"] = swap(found["assessment_name"], swaps)
    return found


def judging_run(assessment: Json) -> str:
    """What looks like the id of a run as the source of an assessment: MLflow's detection of issues sets it so."""
    text = str(assessment.get("source", {}).get("source_id", ""))
    return text if run_ids_in(text) == {text} else ""


def ids_in(head: Json) -> set[str]:
    metadata = head.get("trace_metadata", {})
    found = {metadata.get(SOURCE_RUN), metadata.get(MODEL), *head.get(RUNS, ())}
    found |= {each.get("metadata", {}).get(JUDGED_IN) for each in head.get("assessments", ())}
    found |= {judging_run(each) for each in head.get("assessments", ())}
    found |= {each["assessment_name"] for each in head.get("assessments", ()) if "issue" in each}
    return {str(id_) for id_ in found if id_}


def untied(head: Json) -> Json:
    """A head as MLflow shows it, without what only searches tell."""
    return {key: value for key, value in head.items() if key not in {RUNS, TIES}}


def prompts(head: Json) -> list[Json]:
    """The prompt versions it is tied to: those of MLflow's tag, where nothing else is known."""
    if TIES in head:
        ties: list[Json] = head[TIES]
        return ties
    return _prompts_in_tag(head)


def _prompts_in_tag(head: Json) -> list[Json]:
    """None where a person wrote something else into it."""
    try:
        found: Any = json.loads(head.get("tags", {}).get(PROMPTS, "[]"))
    except ValueError:
        return []
    if not isinstance(found, list):
        return []
    return [
        {"name": str(each["name"]), "version": str(each["version"])}
        for each in found
        if isinstance(each, dict) and {"name", "version"} <= each.keys() and str(each["version"]).isdigit()
    ]


def created(assessment: Json) -> str:
    return str(assessment.get("create_time", ""))


def as_shown(head: Json) -> Json:
    """A head as REST shows it."""
    cuts = {"trace_metadata": SHOWN_METADATA, "tags": SHOWN_TAG}
    kept = {
        part: {key: value[:most] for key, value in head[part].items()} for part, most in cuts.items() if part in head
    }
    return {**head, **kept}


def cut_values(head: Json) -> list[Loss]:
    """What the source's REST API doesn't seem to show whole; a longer value comes from a database, and is whole."""
    losses = [
        Loss("metadata", key, f"the source's REST API shows {SHOWN_METADATA} characters of it at most")
        for key, value in head.get("trace_metadata", {}).items()
        if len(value) == SHOWN_METADATA and key not in CUT_BY_MLFLOW
    ]
    losses += [
        Loss("tag", key, f"the source's REST API shows {SHOWN_TAG} characters of it at most")
        for key, value in head.get("tags", {}).items()
        if len(value) == SHOWN_TAG
    ]
    return losses


def unsettable(head: Json) -> list[Loss]:
    """What of the assessments no request can set: MLflow itself makes one invalid when another one overrides it, and
    doesn't read what an expectation overrides (`entities/assessment.py`)."""
    assessments = head.get("assessments", ())
    replaced = {each.get("overrides") for each in assessments if "expectation" not in each}
    losses = []
    for each in assessments:
        if each.get("overrides") and "expectation" in each:
            losses.append(Loss("assessment", each["assessment_id"], "MLflow's REST API drops what it overrides"))
        if not each.get("valid", True) and each["assessment_id"] not in replaced:
            losses.append(Loss("assessment", each["assessment_id"], "MLflow's REST API makes it valid again"))
    return losses
