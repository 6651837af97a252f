"""The status page, as HTML, from the status document."""

import html
from typing import Any

PATH = "/mlflow-app/status"
KIBI = 1024
MINUTE, HOUR, DAY = 60, 3600, 86400
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem;padding:0 1rem;color:#1b2733}"
    "table{border-collapse:collapse;width:100%}td{padding:.35rem .6rem;border-bottom:1px solid #dde3e8;"
    "vertical-align:top;overflow-wrap:anywhere}td:first-child{color:#5a6a78;width:13rem}"
    ".good{color:#1a7f37}.bad{color:#b42318}h1{font-size:1.4rem}"
)


def render(document: dict[str, Any]) -> str:
    """The page. It reloads itself every ten seconds."""
    rows = [f"<tr><td>{html.escape(name)}</td><td>{value}</td></tr>" for name, value in _rows(document) if value]
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in document.get("notes", ()))
    name = html.escape(str(document.get("app", "MLflow")))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{name} - status</title><style>{_STYLE}</style></head><body><h1>{name}</h1>"
        f"<table>{''.join(rows)}</table>{f'<h2>Notes</h2><ul>{notes}</ul>' if notes else ''}"
        f'<p><a href="/">MLflow</a> · <a href="{PATH}.json">as JSON</a></p></body></html>'
    )


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    restored, password, database = (document.get(part) or {} for part in ("restored", "password", "database"))
    state = str(document.get("state", "unknown"))
    message = str(document.get("message") or "")
    rows = [
        ("State", _marked(state, state == "serving") + (f": {html.escape(message)}" if message else "")),
        ("Looked after", "" if document.get("supervised", True) else _marked("the supervisor doesn't answer", False)),
        ("Backend", _text(document.get("backend"))),
        *_snapshot_rows(document),
        ("Began with", _text(restored.get("generation"))),
        ("Passed over", "<br>".join(html.escape(str(item)) for item in restored.get("passed_over", ()))),
        ("Database", f"{_bytes(database['bytes'])}; {_bytes(database['free_bytes'])} free" if database else ""),
        ("Password renewed", _text(password.get("renewed"))),
        ("Password", _marked(str(password["error"]), False) if password.get("error") else ""),
        ("Artifacts", _text(document.get("artifacts"))),
        ("Started", _text(document.get("started"))),
        ("Restarts", _restarts(document)),
        ("Instance", _text(document.get("instance"))),
        ("MLflow", _text(document.get("mlflow"))),
        ("mlflow-migration", _text(document.get("package"))),
    ]
    return rows


def _snapshot_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    snapshot = document.get("snapshot")
    if not isinstance(snapshot, dict):
        return []
    age, loss = snapshot.get("age_seconds"), document.get("loss_seconds") or 0
    last = "none yet" if age is None else f"{snapshot.get('generation')}, {_span(age)} ago"
    window = float(document.get("snapshot_seconds") or 0)
    unsaved = f"changes of the last {_span(loss)}" if loss else "nothing"
    rows = [
        ("Last snapshot", html.escape(last)),
        ("In no snapshot yet", _marked(unsaved, loss <= 2 * window + 1)),
        ("A snapshot every", html.escape(f"{_span(window)}, when something changed")),
        ("Snapshots are in", _text(document.get("volume"))),
    ]
    if snapshot.get("error"):
        rows.append(("Last failure", _marked(f"{snapshot['error']} ({snapshot.get('error_time')})", False)))
    return rows


def _restarts(document: dict[str, Any]) -> str:
    count = int(document.get("restarts") or 0)
    return f"{count}, the last after {html.escape(str(document.get('last_exit')))}" if count else "0"


def _marked(text: str, good: bool) -> str:
    return f'<span class="{"good" if good else "bad"}">{html.escape(text)}</span>'


def _text(value: Any) -> str:
    return html.escape(str(value)) if value else ""


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < KIBI:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= KIBI
    return f"{size:.1f} TiB"


def _span(seconds: float) -> str:
    for size, unit in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} seconds"
