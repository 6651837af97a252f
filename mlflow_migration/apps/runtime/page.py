"""The status page, as HTML, from the status document: no script, nothing from elsewhere, light and dark."""

import html
from collections.abc import Iterable
from typing import Any

PATH = "/mlflow-app/status"
KIBI = 1024
EXACT, MINUTE, HOUR, DAY = 10, 60, 3600, 86400
_STYLE = """
:root{color-scheme:light dark;--ground:#f4f6f8;--card:#fff;--ink:#17222e;--soft:#5a6a78;--line:#dfe5ea;
--good:#1a7f37;--bad:#b42318;--wait:#9a6700}
@media(prefers-color-scheme:dark){:root{--ground:#10161d;--card:#19222c;--ink:#e6edf3;--soft:#93a1af;--line:#2c3844;
--good:#4ac26b;--bad:#ff7b72;--wait:#e3b341}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:var(--ground);color:var(--ink)}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}
header{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem .8rem;margin-bottom:1rem}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1rem;margin:0 0 .4rem}
nav{margin-left:auto}a{color:inherit}
.state{border-radius:1rem;padding:.1rem .75rem;font-weight:600;border:1.5px solid currentColor}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
section,.figure{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1.1rem}
section{margin-top:1rem}.figures,.message{margin-bottom:1rem}.message{margin-top:0}
.message{border-left:4px solid;overflow-wrap:anywhere}.message span{color:var(--ink)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem}
.figure span,td:first-child,footer{color:var(--soft)}
.figure b{display:block;font-size:1.3rem;line-height:1.5;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}tr+tr td{border-top:1px solid var(--line)}
td{padding:.35rem 0;vertical-align:top;overflow-wrap:anywhere}td:first-child{width:12rem;padding-right:1rem}
ul{margin:0;padding-left:1.2rem}li+li{margin-top:.3rem}footer{margin-top:1rem;font-size:.85rem}
@media(max-width:34rem){td,td:first-child{display:block;width:auto;padding:.2rem 0}tr+tr td+td{border-top:0}}
"""
_WAITING = ("starting", "restoring", "restarting", "stopping")
_PARTS_THAT_FAIL = (
    ("snapshot", "The last snapshot failed"),
    ("password", "No new password"),
    ("lease", "The lease can't be renewed"),
)
Figure = tuple[str, str, str, str]
"""What it is, its value, what to know of it, and a class of the style."""
Row = tuple[str, str]


def render(document: dict[str, Any]) -> str:
    """The page. It reloads itself every ten seconds."""
    name, state = _text(document.get("app")) or "MLflow", str(document.get("state", "unknown"))
    parts = [
        f'<header><h1>{name}</h1><span class="state {_mood(state)}">{_text(state)}</span>'
        f'<nav><a href="/">MLflow</a> · <a href="{PATH}.json">as JSON</a></nav></header>',
        *_messages(document),
        '<div class="figures">',
        *(_figure(*figure) for figure in _figures(document)),
        "</div>",
        _notes(document),
        _section("Snapshots", _snapshot_rows(document)),
        _section("Password of the database", _password_rows(document)),
        _section("Server", _server_rows(document)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{name} - status</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}"
        f"<footer>As of {_time(document.get('written')) or 'an unknown time'}. "
        "This page loads itself again every 10 seconds.</footer></main></body></html>"
    )


def _messages(document: dict[str, Any]) -> Iterable[str]:
    """What is wrong, or being done, in words."""
    if not document.get("supervised", True):
        yield _message("the supervisor doesn't answer: nobody makes snapshots or starts a crashed server again")
    if document.get("message"):
        yield _message(str(document["message"]), _mood(str(document.get("state"))))
    for part, what in _PARTS_THAT_FAIL:
        found = document.get(part) or {}
        if found.get("error"):
            when = f" ({_time(found['error_time'])})" if found.get("error_time") else ""
            yield _message(f"{what}{when}: {found['error']}")


def _figures(document: dict[str, Any]) -> Iterable[Figure]:
    """The few values to look at first; for sqlite how much would be lost now is the first of them."""
    snapshot, database = document.get("snapshot"), document.get("database") or {}
    if isinstance(snapshot, dict):
        loss, window = document.get("loss_seconds") or 0, float(document.get("snapshot_seconds") or 0)
        mood = "good" if loss <= 2 * window + 1 else "bad"
        about = "of changes: lost if the machine went now" if loss else "would be lost if the machine went now"
        yield "In no snapshot yet", span(loss) if loss else "nothing", about, mood
        age = snapshot.get("age_seconds")
        last = "none yet" if age is None else f"{span(age)} ago"
        yield "Last snapshot", last, f"every {span(window)}, when something changed", ""
    else:
        yield "Backend", str(document.get("backend") or "unknown"), "keeps what MLflow knows", ""
    if database:
        yield "Database", size(database["bytes"]), f"{size(database['free_bytes'])} of the disk are free", ""
    restarts = int(document.get("restarts") or 0)
    after = f"the last after {document.get('last_exit')}" if restarts else "of the server, since it was started"
    yield "Restarts", str(restarts), after, "bad" if restarts else ""


def _snapshot_rows(document: dict[str, Any]) -> list[Row]:
    snapshot, restored = document.get("snapshot"), document.get("restored") or {}
    if not isinstance(snapshot, dict):
        return []
    return [
        ("Newest", _text(snapshot.get("generation"))),
        ("Made", _time(snapshot.get("time"))),
        ("They are in", _text(document.get("volume"))),
        ("Began with", _text(restored.get("generation"))),
        ("Passed over", "<br>".join(_text(item) for item in restored.get("passed_over", ()))),
    ]


def _password_rows(document: dict[str, Any]) -> list[Row]:
    password = document.get("password") or {}
    life = password.get("seconds")
    return [("Renewed", _time(password.get("renewed"))), ("Good for", span(life) if life else "")]


def _server_rows(document: dict[str, Any]) -> list[Row]:
    return [
        ("Backend", _text(document.get("backend"))),
        ("Artifacts", _text(document.get("artifacts"))),
        ("Started", _time(document.get("started"))),
        ("Workers", _text(document.get("workers"))),
        ("Instance", _text(document.get("instance"))),
        ("MLflow", _text(document.get("mlflow"))),
        ("mlflow-migration", _text(document.get("package"))),
    ]


def _notes(document: dict[str, Any]) -> str:
    notes = "".join(f"<li>{_text(note)}</li>" for note in document.get("notes", ()))
    title = "What is different in a workspace" if document.get("backend") == "databricks" else "Notes"
    return f"<section><h2>{title}</h2><ul>{notes}</ul></section>" if notes else ""


def _section(title: str, rows: Iterable[Row]) -> str:
    cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows if value)
    return f"<section><h2>{title}</h2><table>{cells}</table></section>" if cells else ""


def _figure(name: str, value: str, about: str, mood: str) -> str:
    shown = f'<b class="{mood}">' if mood else "<b>"
    return f'<div class="figure"><span>{name}</span>{shown}{_text(value)}</b><span>{_text(about)}</span></div>'


def _message(text: str, mood: str = "bad") -> str:
    return f'<section class="message {mood}"><span>{_text(text)}</span></section>'


def _mood(state: str) -> str:
    return "good" if state == "serving" else "wait" if state in _WAITING else "bad"


def _text(value: Any) -> str:
    return html.escape(str(value)) if value else ""


def size(count: float) -> str:
    """A number of bytes for a person."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < KIBI:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= KIBI
    return f"{count:.1f} TiB"


def span(seconds: float) -> str:
    """A length of time for a person."""
    for length, unit in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    shown = f"{seconds:.0f}" if seconds >= EXACT else f"{seconds:g}"
    return f"{shown} second{'' if shown == '1' else 's'}"


def _time(moment: Any) -> str:
    """A moment of the document for a person; all of them are in UTC."""
    return _text(str(moment)[:19].replace("T", " ") + " UTC") if moment else ""
