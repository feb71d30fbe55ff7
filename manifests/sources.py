"""Where a repair takes from what is damaged here: another repository, its home, or a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cas.digest import Digest
from cas.errors import CorruptionError, InvalidInputError, NotFoundError
from cas.objects import Object
from cas.records import UNREADABLE
from cas.store import ObjectStore
from manifests.catalogue import Catalogue
from manifests.importing import import_bundle
from manifests.roots import STORE_TABLES

__all__ = ["StoreSource", "opened_source"]


class StoreSource:
    """Another store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, digest: Digest) -> Object | None:
        """Return a verified object, None if it is not there whole."""
        try:
            return self._store.get(digest)
        except UNREADABLE:
            return None

    def find(self, run: str, sequence: int) -> Digest | None:
        """Return the id of a checkpoint, None if it is not there."""

        def look_up(catalogue: Catalogue) -> Digest | None:
            found = catalogue.run(run)
            row = None if found is None else catalogue.checkpoint(found.number, sequence)
            return None if row is None else row.id

        try:
            return self._store.read(lambda reader: look_up(Catalogue(reader.transaction)))
        except CorruptionError:
            return None


@contextmanager
def opened_source(
    source: ObjectStore | Path | None, open_home: Callable[[Path], ObjectStore]
) -> Iterator[StoreSource | None]:
    """Open what to repair from: an open store, the home of one, or a bundle.

    Raises:
        NotFoundError: There is nothing at that path.
        InvalidInputError: There is neither a home nor a bundle.
    """
    if source is None or isinstance(source, ObjectStore):
        yield None if source is None else StoreSource(source)
        return
    if not source.exists():
        raise NotFoundError(f"there is nothing at {source} to repair from")
    if source.is_dir():
        with open_home(source) as store:
            yield StoreSource(store)
        return
    if not source.is_file():
        raise InvalidInputError(f"{source} is neither the home of a store nor a bundle")
    with tempfile.TemporaryDirectory(prefix="hive-repair-") as folder:
        # A bundle is read from front to back; a store answers for one object at a time.
        with ObjectStore.open(Path(folder) / "objects", tables=STORE_TABLES) as store:
            import_bundle(store, source, name=None, max_bytes=None, created_us=0)
            yield StoreSource(store)
