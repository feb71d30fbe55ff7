"""Databases of LangGraph's own savers, to import from. They are only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from hive.adapters.langgraph.places import Place
from hive.adapters.langgraph.verbatim import VerbatimSerializer
from hive.errors import HiveError, InvalidInputError, NotFoundError
from hive.threads import DELTA_COUNTERS

__all__ = ["Source", "StoredWrite", "opened_source"]


@dataclass(frozen=True, slots=True)
class StoredWrite:
    """A pending write as a database has it, its value not yet read."""

    task: str
    path: str
    index: int
    channel: str
    kind: str
    data: bytes


class _Rows(Protocol):
    """Runs a query with ``%s`` for each argument."""

    def __call__(self, query: str, *arguments: Any) -> list[Sequence[Any]]: ...


class Source:
    """The threads of one database."""

    def __init__(
        self, saver: BaseCheckpointSaver[Any], rows: _Rows, value_column: str, bytes_held: int
    ) -> None:
        self.saver = saver
        self.bytes_held = bytes_held
        self._rows = rows
        self._value_column = value_column
        self._has_path = True

    def without_paths(self) -> None:
        """Note that the database is of a time before tasks had paths."""
        self._has_path = False

    def places(self) -> list[Place]:
        """Return all threads with their namespaces."""
        found = self._rows(
            "SELECT DISTINCT thread_id, checkpoint_ns FROM checkpoints ORDER BY 1, 2"
        )
        return [Place(thread, namespace) for thread, namespace in found]

    def ids(self, place: Place) -> list[str]:
        """Return the ids of the checkpoints in a place, oldest first.

        Damage may have made one something else than a text: ``checkpoint`` refuses it.
        """
        found = self._rows(
            "SELECT checkpoint_id FROM checkpoints WHERE thread_id = %s AND checkpoint_ns = %s",
            place.thread,
            place.namespace,
        )
        return sorted((row[0] for row in found), key=str)

    def checkpoint(self, place: Place, checkpoint_id: str) -> CheckpointTuple:
        """Return a checkpoint, without its writes.

        Raises:
            HiveError: It cannot be read.
        """
        try:
            found = self.saver.get_tuple(place.config(checkpoint_id))
        except HiveError:
            raise
        except Exception as error:  # whatever the other saver raises on damaged rows
            raise InvalidInputError(f"{type(error).__name__}: {error}") from error
        if found is None:
            raise NotFoundError("it was deleted meanwhile")
        if not _makes_sense(found, checkpoint_id):
            raise InvalidInputError("what is stored of it makes no sense")
        return found

    def writes(self, place: Place, checkpoint_id: str) -> Iterator[StoredWrite]:
        """Yield the pending writes of a checkpoint.

        Raises:
            HiveError: One of them cannot be read.
        """
        path = "task_path" if self._has_path else "''"
        query = (
            f"SELECT task_id, {path}, idx, channel, type, {self._value_column} FROM "
            f"{self._writes_table} WHERE thread_id = %s AND checkpoint_ns = %s "
            "AND checkpoint_id = %s ORDER BY 1, 3"
        )
        for task, where, index, channel, kind, data in self._rows(
            query, place.thread, place.namespace, checkpoint_id
        ):
            if not (
                all(isinstance(text, str) for text in (task, where or "", channel, kind or ""))
                and isinstance(index, int)
                and isinstance(data, bytes | memoryview | None)
            ):
                raise InvalidInputError("a pending write of it makes no sense")
            yield StoredWrite(task, where or "", index, channel, kind or "null", bytes(data or b""))

    @property
    def _writes_table(self) -> str:
        return "writes" if self._value_column == "value" else "checkpoint_writes"


def _makes_sense(found: CheckpointTuple, checkpoint_id: str) -> bool:
    """Whether a checkpoint is that one, and of LangGraph's shape, whatever its values are."""
    checkpoint: Any = found.checkpoint
    metadata: Any = found.metadata
    if not isinstance(checkpoint, dict) or not isinstance(metadata, dict):
        return False
    parts = ("channel_values", "channel_versions", "versions_seen")
    return (
        all(isinstance(checkpoint.get(name), str) for name in ("id", "ts"))
        and checkpoint["id"] == checkpoint_id  # an empty one is taken for the newest
        and all(_is_keyed(checkpoint.get(name)) for name in parts)
        and all(map(_is_keyed, checkpoint["versions_seen"].values()))
        and isinstance(checkpoint.get("updated_channels"), list | None)
        and _is_keyed(metadata)
        and _is_keyed(metadata.get(DELTA_COUNTERS) or {})
    )


def _is_keyed(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(key, str) for key in part)


@contextmanager
def opened_source(url: str) -> Iterator[Source]:
    """Open the database that a URL names: ``sqlite:///FILE``, or ``postgresql://...``.

    Raises:
        InvalidInputError: The URL is of another kind, there are no checkpoints in the database, or
            the package for it is not installed.
        NotFoundError: There is no such file.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite" and url.removeprefix("sqlite:///") not in (url, ""):
        with _sqlite(Path(unquote(url.removeprefix("sqlite:///")))) as source:
            yield source
    elif scheme in ("postgresql", "postgres"):
        with _postgres(url) as source:
            yield source
    else:
        raise InvalidInputError(
            f"{url!r} names no database to import from: write sqlite:///FILE (four slashes for an "
            "absolute path) or postgresql://USER@HOST/NAME"
        )


@contextmanager
def _sqlite(file: Path) -> Iterator[Source]:
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError as error:
        raise InvalidInputError(
            "reading SQLite databases needs another package: pip install "
            "langgraph-checkpoint-sqlite"
        ) from error
    if not file.is_file():
        raise NotFoundError(f"there is no file {file}")
    place = f"file:{file.absolute().as_posix().replace('?', '%3f').replace('#', '%23')}?mode=ro"
    try:
        connection = sqlite3.connect(place, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise InvalidInputError(f"{file} cannot be opened: {error}") from error
    with closing(connection):
        saver = SqliteSaver(connection, serde=VerbatimSerializer())
        saver.is_setup = True  # setting up would change the database

        def rows(query: str, *arguments: Any) -> list[Sequence[Any]]:
            try:
                return connection.execute(query.replace("%s", "?"), arguments).fetchall()
            except sqlite3.Error as error:
                raise InvalidInputError(f"{file} holds no checkpoints: {error}") from error

        held = sum(
            part.stat().st_size
            for part in (file, file.with_name(f"{file.name}-wal"))
            if part.exists()
        )
        source = Source(saver, rows, "value", held)
        if "task_path" not in {row[1] for row in rows("PRAGMA table_info(writes)")}:
            source.without_paths()
        yield source


@contextmanager
def _postgres(url: str) -> Iterator[Source]:
    try:
        import psycopg
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
    except ImportError as error:
        raise InvalidInputError(
            "reading PostgreSQL databases needs other packages: pip install "
            "langgraph-checkpoint-postgres 'psycopg[binary]'"
        ) from error
    options = "-c default_transaction_read_only=on"
    try:
        connection = psycopg.connect(url, autocommit=True, row_factory=dict_row, options=options)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())  # of several lines, the further ones indented
        raise InvalidInputError(f"the database cannot be opened: {reason}") from error
    with closing(connection):

        def rows(query: Any, *arguments: Any) -> list[Sequence[Any]]:
            try:
                found = connection.execute(query, arguments).fetchall()
            except psycopg.Error as error:
                raise InvalidInputError(f"the database holds no checkpoints: {error}") from error
            return [tuple(row.values()) for row in found]

        (size,) = rows(
            "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(ARRAY["
            "'checkpoints', 'checkpoint_blobs', 'checkpoint_writes']) AS name"
        )
        saver = PostgresSaver(connection, serde=VerbatimSerializer())
        yield Source(saver, rows, "blob", int(size[0]))
