"""Ordinary training code: a few scikit-learn runs logged with MLflow's own API, as a user of MLflow writes them.

Run it against any server: `MLFLOW_TRACKING_URI=http://… python demo/train.py`.
"""

import contextlib
import logging

import matplotlib
import mlflow
import mlflow.data
import mlflow.sklearn
import numpy as np
from matplotlib.figure import Figure
from mlflow.models import infer_signature
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split

matplotlib.use("Agg")
EPOCHS = 40
LEARNING_RATES = (0.0005, 0.005, 0.05)
TREES = (10, 100)


def train_digits() -> None:
    """A learning-rate search: one parent run, and one child per rate with its curves, a plot and the trained model."""
    features, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(features / 16.0, labels, random_state=7)
    mlflow.set_experiment("digits: learning-rate search")
    mlflow.set_experiment_tag("mlflow.note.content", "Which learning rate reads handwritten digits best?")
    dataset = mlflow.data.from_numpy(train_x, targets=train_y, name="digits")
    best = 0.0
    with mlflow.start_run(run_name="search", tags={"team": "vision", "öwner": "Zoë"}):
        mlflow.log_params({"epochs": EPOCHS, "rates": LEARNING_RATES, "split/seed": 7})
        mlflow.log_input(dataset, context="training", tags={"cleaned": "yes"})
        for rate in LEARNING_RATES:
            with mlflow.start_run(run_name=f"rate {rate}", nested=True):
                mlflow.log_params({"learning_rate": rate, "model": "SGDClassifier", "loss": "log_loss"})
                mlflow.log_input(dataset, context="training")
                model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=7)
                curve = []
                for epoch in range(EPOCHS):
                    model.partial_fit(train_x, train_y, classes=np.unique(labels))
                    accuracy = float(accuracy_score(test_y, model.predict(test_x)))
                    curve.append(accuracy)
                    loss = float(log_loss(test_y, model.predict_proba(test_x)))
                    mlflow.log_metrics({"test/accuracy": accuracy, "test/log loss": loss}, step=epoch)
                mlflow.log_figure(accuracy_figure(curve, rate), "plots/accuracy over epochs.png")
                mlflow.log_dict({"classes": 10, "best_epoch": int(np.argmax(curve))}, "summary.json")
                mlflow.sklearn.log_model(
                    model,
                    name="model",
                    signature=infer_signature(train_x, model.predict(train_x)),
                    pip_requirements=["scikit-learn"],
                )
                best = max(best, *curve)
        mlflow.log_metric("best accuracy", best)


def train_wine() -> None:
    """Two single runs with a confusion matrix, and one that fails half-way and never gets a score."""
    frame = load_wine(as_frame=True).frame.astype("float64")
    train, test = train_test_split(frame, random_state=3)
    mlflow.set_experiment("wine")
    for trees in TREES:
        with mlflow.start_run(run_name=f"forest of {trees}", description="A random forest on the **wine** data."):
            mlflow.log_input(mlflow.data.from_pandas(train, targets="target", name="wine"), context="training")
            mlflow.log_params({"trees": trees, "criterion": "gini"})
            model = RandomForestClassifier(n_estimators=trees, random_state=3)
            model.fit(train.drop(columns="target"), train["target"])
            found = model.predict(test.drop(columns="target"))
            mlflow.log_metrics(
                {
                    "accuracy": float(accuracy_score(test["target"], found)),
                    "f1": float(f1_score(test["target"], found, average="macro")),
                    "out of bag": float("nan"),
                }
            )
            figure = Figure(figsize=(4, 4))
            ConfusionMatrixDisplay.from_predictions(test["target"], found, ax=figure.subplots())
            mlflow.log_figure(figure, "confusion matrix.png")
    with contextlib.suppress(ValueError), mlflow.start_run(run_name="no trees at all"):
        mlflow.log_param("trees", 0)
        RandomForestClassifier(n_estimators=0).fit(train.drop(columns="target"), train["target"])


def accuracy_figure(curve: list[float], rate: float) -> Figure:
    """Accuracy on the held-out part after every epoch."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve)
    axes.set(title=f"learning rate {rate}", xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    return figure


if __name__ == "__main__":
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    train_digits()
    train_wine()
