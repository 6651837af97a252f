"""Run by `python -I load_test.py FOLDER`: load the model in a folder, and predict on its input example.

It imports nothing of this package, so that it runs in a virtual environment with nothing but the model's requirements.
What the model prints goes to stderr: stdout is for the one JSON document about how it went.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main(folder: str) -> None:
    """Print {"load_seconds", "predict_seconds", "rows"}; an exception ends with exit code 1 and its traceback."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import mlflow.pyfunc
    from mlflow.models import Model

    begun = time.monotonic()
    model: Any = mlflow.pyfunc.load_model(folder)
    loaded = time.monotonic()
    example: Any = Model.load(folder).load_input_example(folder)
    if example is None:
        raise SystemExit("the model has no input example")
    begun_to_predict = time.monotonic()
    predicted: Any = model.predict(example)
    ended = time.monotonic()
    rows = len(predicted) if hasattr(predicted, "__len__") else 1
    if not rows:
        raise SystemExit("the model predicted nothing")
    found = {"load_seconds": loaded - begun, "predict_seconds": ended - begun_to_predict, "rows": rows}
    with answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
