"""Rows into tables: what is missing is inserted many at once, what differs is updated, the rest is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlflow_migration.database.made import Guess, Made, Part, Values

if TYPE_CHECKING:
    import sqlalchemy as sa

AT_ONCE = 5000
"""Rows of one insert."""
LOOKED_UP = 200
"""Objects of one look-up: SQLite takes some hundred values in a statement."""
Known = dict[tuple[Any, ...], Values]


class Writer:
    """Writes rows over one connection. With `rehearsal` it reads, says what it would do, and writes nothing."""

    def __init__(self, connection: sa.Connection, tables: Mapping[str, sa.Table], rehearsal: bool = False) -> None:
        self.connection = connection
        self.tables = tables
        self.rehearsal = rehearsal
        self._waiting: dict[str, list[Values]] = {}
        self._order = {name: place for place, name in enumerate(_sorted(tables))}

    def put(self, plan: Sequence[Part], group: Sequence[Made]) -> list[str]:
        """Write some objects of a kind; of each whether it is "done" (new), "updated" or "same"."""
        known = self._known(plan[0], [row for made in group for row in made.rows[plan[0].key]])
        is_new = [made.key not in known for made in group]
        changed = [False] * len(group)
        kept: dict[Any, Any] = {}
        for part in plan:
            rows = [(place, row) for place, made in enumerate(group) for row in made.rows.get(part.key, ())]
            fresh = [] if part.shared else [(place, row) for place, row in rows if is_new[place]]
            self._insert(part.table, (_with(row, kept) for _, row in fresh))
            looked = [(place, row) for place, row in rows if part.shared or not is_new[place]]
            if looked:
                self._compare(part, looked, changed, kept)
        self.flush()
        return ["done" if new else "updated" if other else "same" for new, other in zip(is_new, changed, strict=True)]

    def _compare(self, part: Part, rows: list[tuple[int, Values]], changed: list[bool], kept: dict[Any, Any]) -> None:
        rows = [(place, _with(row, kept)) for place, row in rows]
        known = self._known(part, [row for _, row in rows])
        for place, row in rows:
            key = tuple(_plain(row[column]) for column in part.same)
            there = known.get(key)
            if there is None:
                self._insert(part.table, [row])
                known[key] = {column: _plain(value) for column, value in row.items()}
                changed[place] = True
                continue
            kept.update(
                {value.value: there[column] for column, value in row.items() if _is_other(value, there[column])}
            )
            news = {
                column: value
                for column, value in row.items()
                if not isinstance(value, Guess) and not _is_same(value, there[column])
            }
            if news:
                changed[place] = True
                self.update(part.table, {column: there[column] for column in self._key(part.table)}, news)

    def update(self, table: str, key: Values, news: Values) -> None:
        """Change some columns of one row."""
        if self.rehearsal:
            return
        # What waits may be a row that this one refers to.
        self.flush()
        found = self.tables[table]
        conditions = [found.c[column] == value for column, value in key.items()]
        self.connection.execute(found.update().where(*conditions).values(**news))

    def stream(self, table: str, rows: Iterable[Values]) -> None:
        """Insert rows that are known to be new, however many they are."""
        self._insert(table, rows)

    def stream_missing(self, part: Part, rows: Iterable[Values]) -> bool:
        """Insert those rows that aren't there; whether there were any. At no time more than some thousand are held."""
        found = False
        for chunk in _chunks(rows, AT_ONCE):
            known = self._known(part, chunk)
            missing = {}
            for row in chunk:
                key = tuple(_plain(row[column]) for column in part.same)
                if key not in known:
                    missing[key] = row
            self._insert(part.table, missing.values())
            found = found or bool(missing)
        return found

    def select(self, table: str, columns: Sequence[str], **where: Any) -> list[Values]:
        """The rows of a table with these values, or with one of several."""
        import sqlalchemy as sa

        self.flush()
        found = self.tables[table]
        asked = sa.select(*(found.c[column] for column in columns))
        for column, value in where.items():
            many = isinstance(value, (list, tuple, set))
            asked = asked.where(found.c[column].in_(list(value)) if many else found.c[column] == value)
        return [dict(row) for row in self.connection.execute(asked).mappings()]

    def flush(self) -> None:
        """Insert what waits, parents first."""
        for table in sorted(self._waiting, key=self._order.__getitem__):
            rows = self._waiting.pop(table)
            if rows and not self.rehearsal:
                for some in _alike(rows):
                    self.connection.execute(self.tables[table].insert(), some)

    def forget(self) -> None:
        """Drop what waits: the savepoint it belongs to is rolled back."""
        self._waiting.clear()

    def _insert(self, table: str, rows: Iterable[Values]) -> None:
        waiting = self._waiting.setdefault(table, [])
        for row in rows:
            waiting.append({column: _plain(value) for column, value in row.items()})
            if len(waiting) >= AT_ONCE:
                self.flush()
                waiting = self._waiting.setdefault(table, [])

    def _known(self, part: Part, rows: list[Values]) -> Known:
        """The rows of the database that belong to the owners of these, by what makes them the same."""
        import sqlalchemy as sa

        self.flush()
        table = self.tables[part.table]
        owners = list(dict.fromkeys(tuple(_plain(row[column]) for column in part.owner) for row in rows))
        known: Known = {}
        for some in _chunks(owners, LOOKED_UP):
            if len(part.owner) == 1:
                condition = table.c[part.owner[0]].in_([owner[0] for owner in some])
            else:
                condition = sa.tuple_(*(table.c[column] for column in part.owner)).in_(some)
            for row in self.connection.execute(sa.select(table).where(condition)).mappings():
                known[tuple(row[column] for column in part.same)] = dict(row)
        return known

    def _key(self, table: str) -> list[str]:
        return [column.name for column in self.tables[table].primary_key.columns]


def _sorted(tables: Mapping[str, sa.Table]) -> list[str]:
    """Names of all tables, each after those it refers to."""
    return [table.name for table in next(iter(tables.values())).metadata.sorted_tables]


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Guess) else value


def _with(row: Values, kept: Mapping[Any, Any]) -> Values:
    """A row with the ids that the database had already for what this job would have given another one."""
    if not kept:
        return row
    return {column: kept.get(value, value) if isinstance(value, str) else value for column, value in row.items()}


def _is_other(value: Any, there: Any) -> bool:
    return isinstance(value, Guess) and isinstance(value.value, str) and value.value != there


def _is_same(value: Any, there: Any) -> bool:
    """Whether two values are one: REST shows an empty text and none at all alike."""
    return bool(value == there) or (value in (None, "") and there in (None, ""))


def _alike(rows: list[Values]) -> Iterator[list[Values]]:
    """The rows by their columns: one insert takes rows with the same ones."""
    groups: dict[tuple[str, ...], list[Values]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    yield from groups.values()


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
