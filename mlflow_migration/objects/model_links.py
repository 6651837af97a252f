"""Links between runs and logged models, which a run's head holds: models it took in, models it gave out at a step."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlflow_migration.calls import Live
from mlflow_migration.objects.texts import holds_ids, swap
from mlflow_migration.places import Ids
from mlflow_migration.records import ORIGIN, Json, Loss, tags_of

MODEL = "logged_model"
MODEL_ID = ORIGIN + "model_id"
_MODEL_ID = re.compile(r"(?<![0-9A-Za-z])m-[0-9a-f]{32}(?![0-9A-Za-z])")


def model_ids_in(text: str) -> set[str]:
    """Everything in a text that looks like a logged model's id."""
    return set(_MODEL_ID.findall(text))


def links_of(head: Json) -> Json | None:
    """The models of a run, `{"inputs": [id], "outputs": [[id, step]]}` in a fixed order; None for a run without any."""
    inputs = (head.get("inputs") or {}).get("model_inputs", [])
    outputs = (head.get("outputs") or {}).get("model_outputs", [])
    if not inputs and not outputs:
        return None
    return {
        "inputs": sorted({link["model_id"] for link in inputs}),
        "outputs": sorted([link["model_id"], int(link.get("step", 0))] for link in outputs),
    }


def ids_of(head: Json) -> Iterator[str]:
    """The id of every model that a run's head names, in its links or in MLflow's own tags."""
    links = links_of(head)
    if links:
        yield from links["inputs"]
        yield from (model_id for model_id, _ in links["outputs"])
    for key, value in tags_of(head["data"].get("tags")).items():
        if holds_ids(key):
            yield from model_ids_in(value)


def swapped(links: Json, swaps: dict[str, str] | None) -> Json:
    """Links with the ids both ends share."""
    return {
        "inputs": sorted(swap(model_id, swaps) for model_id in links["inputs"]),
        "outputs": sorted([swap(model_id, swaps), step] for model_id, step in links["outputs"]),
    }


def locate(sink: Live, source_id: str, ids: Ids) -> str | None:
    """The destination's model that came from this one, in this job or an earlier one."""
    return ids.get(MODEL, source_id) or ids.once(f"locate {MODEL} {source_id}", lambda: _search(sink, source_id))


def _search(sink: Live, source_id: str) -> str | None:
    experiments = [head["experiment_id"] for head in sink.search_experiments()]
    found = next(sink.models.search(experiments, f"tags.`{MODEL_ID}` = '{source_id}'", limit=1), None)
    return str(found["info"]["model_id"]) if found else None


def tie(sink: Live, run_id: str, links: Json, ids: Ids) -> list[Loss]:
    """Link a destination's run to the models of the source's run, those that are linked already left out."""
    head = sink.get_run(run_id)
    there = links_of(head) if head else None
    present = there or {"inputs": [], "outputs": []}
    losses, inputs, outputs = [], [], []
    for source_id in dict.fromkeys([*links["inputs"], *(model_id for model_id, _ in links["outputs"])]):
        found = locate(sink, source_id, ids)
        if found is None:
            reason = f"logged model {source_id} is not at the destination: bring it there, then type this command again"
            losses.append(Loss("link", source_id, reason))
            continue
        if source_id in links["inputs"] and found not in present["inputs"]:
            inputs.append(found)
        steps = [step for model_id, step in links["outputs"] if model_id == source_id]
        outputs += [{"model_id": found, "step": step} for step in steps if [found, step] not in present["outputs"]]
    if inputs:
        sink.models.log_inputs(run_id, inputs)
    if outputs:
        sink.models.log_outputs(run_id, outputs)
    return losses


def localized(text: str, sink: Live, ids: Ids) -> str:
    """A tag's value with the ids of models at the destination; one that isn't there stays as the source has it."""
    return _MODEL_ID.sub(lambda match: locate(sink, match[0], ids) or match[0], text)
