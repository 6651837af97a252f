"""Rules about traces, and about who may do what."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone

from mlflow_migration.governance import links
from mlflow_migration.governance.looking import DAY, Looking, Thing, counted, is_active
from mlflow_migration.objects import access
from mlflow_migration.promotion.audit_forms import PERMISSIONS
from mlflow_migration.records import Json

OF_TRACES = ("traces-unreviewed",)
OF_USERS = ("permissions-wide",)
SECONDS = len("2026-01-31T12:59:59")


def look_at_traces(looking: Looking) -> None:
    """One finding for each experiment with old traces that nobody and nothing assessed."""
    experiments = {head["experiment_id"]: head for head in looking.place.search_experiments() if is_active(head)}
    before = looking.now - looking.settings.review_days * DAY
    old: Counter[str] = Counter()
    unreviewed: Counter[str] = Counter()
    for info in looking.place.traces.search(list(experiments)):
        looking.looked["trace"] += 1
        if _began(info) < before:
            id_ = _experiment_of(info)
            old[id_] += 1
            unreviewed[id_] += not info.get("assessments")
    for id_, number in unreviewed.items():
        if number and id_ in experiments:
            link = links.traces(looking.place.address, id_)
            thing = Thing("experiment", id_, experiments[id_]["name"], link)
            days = f"older than {looking.settings.review_days:g} days"
            message = f"{number:,} of {counted(old[id_], 'trace')} {days} without an assessment"
            looking.note("traces-unreviewed", thing, message)


def _began(info: Json) -> float:
    """When a trace was made, in ms since 1970: V3 tells it as a text of RFC 3339 in UTC, V2 as a number. Fractions of a
    second, which may have more digits than Python 3.10 reads, are left out; one without a time is old."""
    if "timestamp_ms" in info:
        return float(info["timestamp_ms"])
    text = str(info.get("request_time") or "")
    try:
        return datetime.fromisoformat(text[:SECONDS]).replace(tzinfo=timezone.utc).timestamp() * 1000
    except ValueError:
        return 0.0


def _experiment_of(info: Json) -> str:
    place = (info.get("trace_location") or {}).get("mlflow_experiment") or {}
    return str(place.get("experiment_id") or info.get("experiment_id") or "")


def look_at_permissions(looking: Looking) -> None:
    """Roles and people who may do more with everything than the policy allows, and administrators it doesn't name."""
    users = looking.place.users
    if not users.exist():
        if looking.place.abilities.home:
            # A Databricks workspace has people too, whose rights are no roles of MLflow's.
            looking.miss(OF_USERS, "a Databricks workspace has permissions of its own: check-access tells them")
        return
    allowed = PERMISSIONS.index(looking.settings.widest)
    people = users.list_users()
    roles = users.list_roles()
    looking.looked["user"] = len(people)
    looking.looked["role"] = len(roles)
    link = links.users(looking.place.address)
    for user in people:
        name = str(user["username"])
        if user.get("is_admin") and looking.settings.admins and name not in looking.settings.admins:
            looking.note("permissions-wide", Thing("user", name, name, link), "an administrator that no policy names")
    owners = {str(user.get("id")): str(user["username"]) for user in people}
    admins = {str(user["username"]) for user in people if user.get("is_admin")}
    for role in roles:
        name = str(role["name"])
        person = (
            owners.get(name[len(access.OWN_PREFIX) :].rstrip("_"), "") if name.startswith(access.OWN_PREFIX) else ""
        )
        if person in admins:
            continue
        wide = [each for each in role.get("permissions") or () if _is_wider(each, allowed)]
        if wide:
            thing = Thing("user", person, person, link) if person else Thing("role", name, name, link)
            told = sorted(f"{each['permission']} on every {each['resource_type']}" for each in wide)
            looking.note("permissions-wide", thing, ", ".join(told))


def _is_wider(permission: Json, allowed: int) -> bool:
    level = str(permission.get("permission"))
    known = PERMISSIONS.index(level) if level in PERMISSIONS else len(PERMISSIONS)
    return permission.get("resource_pattern") == access.ALL and known > allowed
