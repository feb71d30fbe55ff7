"""Another reader of Hive's stores and bundles: after docs/format.md, with nothing of Hive.

It shows in one place how the bytes lead to the values; sections named here are those of that page.
Every checkpoint of a store with its state, all of it verified::

    with open_store(home) as store:
        for run in store.runs():
            for sequence, point in store.checkpoints(run):
                manifest = Values(store).manifest(point.record, point.id)
                print(run.name, sequence, manifest.node, manifest.state)

It is written to be read: it believes no byte, but it is slow, and short about what it refuses.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, Protocol

import cbor2
import lmdb
import zstandard
from blake3 import blake3

__all__ = [
    "Array",
    "Bundle",
    "DamagedError",
    "NewerError",
    "Object",
    "Objects",
    "Registered",
    "Run",
    "Store",
    "Values",
    "everything_below",
    "number_key",
    "open_store",
    "records_in",
]


class DamagedError(Exception):
    """These are not the bytes that a writer wrote."""


class NewerError(Exception):
    """A later version wrote this."""


ODD = (
    *(ValueError, LookupError, TypeError, struct.error),
    *(cbor2.CBORError, zstandard.ZstdError),
)
"""What the libraries raise where bytes make no sense."""


def digest_of(data: bytes) -> bytes:
    return blake3(data).digest()


def number_in(data: bytes) -> int:
    return int.from_bytes(data, "big")


def require(condition: object, what: str) -> None:
    if not condition:
        raise DamagedError(what)


# --- Section 2: objects ---


class Object(NamedTuple):
    """An object. A link is a record number in a store, a digest in a bundle."""

    digest: bytes
    links: Sequence[Any]
    payload: bytes


class Objects(Protocol):
    """Where objects are: a store or a bundle."""

    def get(self, link: Any) -> Object:
        """Return the object that a link leads to, verified."""


def everything_below(objects: Objects, link: Any) -> dict[Any, Object]:
    """Return an object and all that its links lead to, each of them verified."""
    found: dict[Any, Object] = {}
    queue = [link]
    while queue:
        link = queue.pop()
        if link not in found:
            found[link] = objects.get(link)
            queue.extend(found[link].links)
    return found


# --- Sections 3 and 4: stores ---


class Run(NamedTuple):
    number: int
    name: str
    head: int
    highest: int
    kept: int
    created: int


class Checkpoint(NamedTuple):
    record: int
    id: bytes
    back: int
    new_objects: int
    new_bytes: int
    flags: int = 0
    key: Any = None


class Writes(NamedTuple):
    """What a task wrote at a checkpoint: [index, name, body, index, name, body, ...]."""

    at: int | str
    path: str
    task: str
    writes: list[Any]


UNCHECKED = ("objects", "index")
MOST_PAYLOAD_BYTES = 1 << 24


@contextmanager
def open_store(home: Path) -> Iterator[Store]:
    """Open the store of a home for reading, as it is at this moment."""
    folder = home / "objects"
    with open(folder / "generation", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # so that nobody replaces the data file
        place = folder / f"g{generation_in(file.read())}"
        lock = (place / "lock.mdb").exists()  # not in a copy, which nobody writes to
        environment = lmdb.open(str(place), readonly=True, lock=lock, max_dbs=64)
        try:
            with environment.begin() as transaction:
                yield Store(environment, transaction)
        finally:
            environment.close()


def generation_in(line: bytes) -> int:
    said, _, check = line.partition(b" check ")
    require(check == digest_of(said)[:4].hex().encode() + b"\n", "the generation file")
    *words, layout, _, generation = said.split(b" ")
    require(words == [b"hive", b"store", b"layout"], "the generation file")
    if int(layout) != 1:
        raise NewerError("layout")
    return int(generation)


def unsealed(table: str, key: bytes, row: bytes) -> bytes:
    """Return the value of a row of a checked table."""
    name, value = table.encode(), row[4:]
    sealed = bytes([len(name)]) + name + struct.pack(">H", len(key)) + key + value
    require(row[:4] == digest_of(sealed)[:4], f"a row of {table}")
    return value


def name_key(name: str) -> bytes:
    """Return the key under which a table has a name."""
    data = name.encode()
    return data if len(data) <= 448 else data[:448] + b"\xff" + digest_of(data)[:31]


def number_key(number: int) -> bytes:
    """Return what the keys of everything that belongs to a run begin with."""
    return struct.pack(">I", number)


def id_text(value: str | bytes) -> str:
    """Return an id that is perhaps written as the bytes of a UUID."""
    return value if isinstance(value, str) else str(uuid.UUID(bytes=value))


class Store:
    """What is in a store. The value of a row that is not its own is told by ``Values.body``."""

    def __init__(self, environment: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
        self._transaction = transaction
        names = [name for name, _ in transaction.cursor() if not name.startswith(b"\0")]
        self._tables = {
            name.decode(): environment.open_db(name, transaction, create=False) for name in names
        }
        self._packs: dict[bytes, dict[int, Object]] = {}
        self._verified: dict[int, Object] = {}
        if transaction.id() > 1:
            stamp = transaction.get(b"\0commit") or b""
            stamped = number_in(unsealed("commit", b"\0commit", stamp))
            require(stamped == transaction.id(), "LMDB's meta pages")
        self.header = cbor2.loads(self.row("store", b"header") or b"")
        if (self.header["format"], self.header["engine"]) != (1, "lmdb-0.9"):
            raise NewerError("store format")

    def row(self, table: str, key: bytes) -> bytes | None:
        if table not in self._tables:
            return None
        row = self._transaction.get(key, db=self._tables[table])
        return row if row is None or table in UNCHECKED else unsealed(table, key, row)

    def rows(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so. A table that is not there yet is empty."""
        if table in self._tables:
            cursor = self._transaction.cursor(self._tables[table])
            cursor.set_range(prefix)
            for key, row in cursor:
                if not key.startswith(prefix):
                    break
                yield key, row if table in UNCHECKED else unsealed(table, key, row)

    # What it holds

    def arrays(self, table: str, prefix: bytes = b"") -> list[list[Any]]:
        """Return the rows of ``tags``, ``pins``, ``claims``, or of ``effects`` by run number."""
        return [cbor2.loads(row) for _, row in self.rows(table, prefix)]

    def runs(self) -> list[Run]:
        return [Run(*fields) for fields in self.arrays("runs")]

    def run(self, name: str) -> Run:
        return Run(*cbor2.loads(self.row("runs", name_key(name)) or b""))

    def checkpoints(self, run: Run) -> Iterator[tuple[int, Checkpoint]]:
        """Yield (sequence, checkpoint), also those with flag 4, which the run does not list."""
        for key, row in self.rows("checkpoints", number_key(run.number)):
            point = Checkpoint(*cbor2.loads(row))
            yield number_in(key[4:]), point._replace(key=point.key and id_text(point.key))

    def keys(self, run: Run) -> dict[str, int]:
        found = self.rows("keys", number_key(run.number))
        return {key[4:].decode(): number_in(row) for key, row in found}

    def pending(self, run: Run) -> Iterator[Writes]:
        """Yield what tasks wrote, with the sequence or key of the checkpoint."""
        for key, row in self.rows("pending", number_key(run.number)):
            kind, anchor, slot = key[4], key[5:-16], key[-16:]
            path, task, writes, *_stray = cbor2.loads(row)
            start = path.encode()
            place = struct.pack(">H", len(start)) + start + id_text(task).encode()
            require(slot == digest_of(place)[:16], "a row of pending")
            at = [number_in, lambda data: data[1:].decode(), id_text][kind](anchor)
            yield Writes(at, path, id_text(task), writes)

    # Section 5: packs

    def get(self, number: int) -> Object:
        """Return the object in a record, after it was found to have the digest that it claims."""
        if number not in self._verified:
            found = self._record(number)
            links = [self._record(link).digest for link in found.links]
            frame = struct.pack(">BI", 1, len(links)) + b"".join(links) + found.payload
            require(digest_of(frame) == found.digest, f"record {number}")
            self._verified[number] = found
        return self._verified[number]

    def find(self, digest: bytes) -> int | None:
        """Return the number of the record with a digest."""
        row = self.row("index", digest[:8]) or b""
        for at in range(0, len(row), 6):
            number = number_in(row[at : at + 6])
            if self._record(number).digest == digest:
                return number
        return None

    def packs(self) -> Iterator[tuple[int, bytes]]:
        """Yield (base number, bytes) of every pack."""
        for key, _ in self.rows("objects"):
            if key[6:] == b"\0\0":
                yield number_in(key[:6]), self._pack(key[:6])

    def _pack(self, base: bytes) -> bytes:
        fragments = [row for _, row in self.rows("objects", base)]
        require(len(fragments) == number_in(fragments[0][2:4]), "the fragments of a pack")
        return b"".join(fragments)

    def _record(self, number: int) -> Object:
        """Return what a record says that it is."""
        place = number.to_bytes(6, "big")
        repair = self.row("repairs", place + b"\0\0")
        if repair is not None:
            return records_in(number, repair)[number]
        # It is in the pack with the greatest base that is not above its number.
        cursor = self._transaction.cursor(self._tables["objects"])
        above = (number + 1).to_bytes(6, "big")
        require(cursor.prev() if cursor.set_range(above) else cursor.last(), f"record {number}")
        base = cursor.key()[:6]
        if base not in self._packs:
            try:
                self._packs[base] = records_in(number_in(base), self._pack(base))
            except ODD as error:
                raise DamagedError(f"the pack at {number_in(base)}") from error
        require(number in self._packs[base], f"record {number}")
        return self._packs[base][number]


def records_in(base: int, pack: bytes) -> dict[int, Object]:
    """Return the records of a pack by their numbers."""
    codec, count, _fragments, meta_bytes = struct.unpack_from(">BBHH", pack)
    if codec > 4:
        raise NewerError("codec of a pack")
    meta_at = 6 + 32 * count
    body_at = meta_at + meta_bytes
    digests, meta, body = pack[6:meta_at], pack[meta_at:body_at], pack[body_at:]
    if codec >= 2:
        meta = inflated(meta, 0xFFFF)
    body_bytes, sizes, links, *gaps = cbor2.loads(meta)
    require(len(body) == body_bytes and sum(sizes) <= MOST_PAYLOAD_BYTES, f"the pack at {base}")
    if codec >= 1:
        body = inflated(body, sum(sizes), digests if codec >= 3 else b"")
    offsets = gaps[0] if gaps else range(count)
    require(len(body) == sum(sizes) and len(offsets) == len(links) == count, f"the pack at {base}")
    records = {}
    for index, end in enumerate(accumulate(sizes)):
        number = base + offsets[index]
        back = [*accumulate(links[index])] if codec == 4 else links[index]
        require(all(0 < steps < number for steps in back), f"record {number}")
        records[number] = Object(
            digests[32 * index : 32 * index + 32],
            [number - steps for steps in back],
            body[end - sizes[index] : end],
        )
    return records


def inflated(data: bytes, most_bytes: int, window: bytes = b"") -> bytes:
    """Decompress a zstd frame that has neither magic number nor content size."""
    before = zstandard.ZstdCompressionDict(window, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    decompressor = zstandard.ZstdDecompressor(before, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    return decompressor.decompress(data, max_output_size=max(most_bytes, 1))


# --- Sections 6 and 7: values ---


class Registered:
    """A value of a registered type. Two are equal that are stored alike."""

    def __init__(self, name: str, version: int, fields: Any) -> None:
        self.name, self.version, self.fields = name, version, fields

    def __repr__(self) -> str:
        return f"Registered({self.name!r}, {self.version}, {self.fields!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registered) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Array(NamedTuple):
    """A numpy array, or with None for its shape a numpy scalar."""

    dtype: str | Sequence[Any]
    shape: tuple[int, ...] | None
    fortran: bool
    data: bytes


class Manifest(NamedTuple):
    """What is behind a checkpoint's id (section 9)."""

    format: int
    run: str
    sequence: int
    parent: bytes | None
    kind: str
    node: str | None
    next_nodes: list[str]
    created: int
    graph: bytes | str | None
    labels: dict[str, str]
    logical_bytes: int
    state: Any
    execution: Any


Item = tuple[Any, Sequence[Any]]
"""A decoded CBOR item, and the links of the object that it stands in."""

PLAIN = (type(None), bool, int, float, str, bytes)
LINK, NODE, MANIFEST = 6, 13, 20


class Values:
    """Makes values of objects; with other functions, of registered types and arrays too."""

    def __init__(
        self,
        objects: Objects,
        registered: Callable[[str, int, Any], Any] = Registered,
        array: Callable[[Any, tuple[int, ...] | None, bool, bytes], Any] = Array,
    ) -> None:
        self._objects = objects
        self._registered = registered
        self._array = array

    def of(self, link: Any) -> Any:
        """Return the value that an object is."""
        return self._value(*self._object(link))

    def body(self, body: Any) -> Any:
        """Return the value of a pending write or effect: a payload, or what leads to an object."""
        if isinstance(body, bytes):
            return self._value(cbor2.loads(body), [])
        require(self._objects.get(body[0]).digest == body[-1], "the id in a row")
        return self.of(body[0])

    def manifest(self, link: Any, digest: bytes) -> Manifest:
        """Return the manifest that a checkpoint's row leads to, with its state."""
        require(self._objects.get(link).digest == digest, "the id in a row")
        item, links = self._object(link)
        require(is_tag(item, MANIFEST), "a manifest")
        if item.value[0] != 1:
            raise NewerError("manifest format")
        return Manifest(*self._list(item.value, links))

    def _object(self, link: Any) -> Item:
        found = self._objects.get(link)
        return cbor2.loads(found.payload), found.links

    def _at(self, item: Any, links: Sequence[Any]) -> Item:
        """Return an item, or what is to stand in its place if it is a link."""
        while is_tag(item, LINK):
            item, links = self._object(links[item.value])
        return item, links

    def _leaves(self, item: Any, links: Sequence[Any]) -> Iterator[Item]:
        """Yield what stands in the leaves below a tree's node."""
        _kind, level, counts, children, *_first_keys = item.value
        require(len(counts) == len(children), "a tree")
        for child in children:
            below = self._at(child, links)
            if level > 1:
                yield from self._leaves(*below)
            else:
                yield below

    def _items(self, item: Any, links: Sequence[Any]) -> Iterator[Item]:
        """Yield the items of a list: one array, or a tree of arrays."""
        item, links = self._at(item, links)
        for array, around in self._leaves(item, links) if is_tag(item, NODE) else [(item, links)]:
            for each in array:
                yield self._at(each, around)

    def _list(self, item: Any, links: Sequence[Any]) -> list[Any]:
        return [self._value(*each) for each in self._items(item, links)]

    def _bytes(self, item: Any, links: Sequence[Any]) -> bytes:
        item, links = self._at(item, links)
        if is_tag(item, NODE):
            return b"".join(chunk for chunk, _ in self._leaves(item, links))
        require(isinstance(item, bytes), "a byte string")
        return bytes(item)

    def _dict(self, flat: list[Item], order: list[Item] | None = None) -> dict[Any, Any]:
        """Return the dict of keys and values in turn, in the order of other keys if there are."""
        pairs = zip(flat[::2], flat[1::2], strict=True)
        entries = {cbor2.dumps(key[0]): (key, value) for key, value in pairs}
        if order is not None:
            entries = {data: entries[data] for data in [cbor2.dumps(key) for key, _ in order]}
        require(2 * len(entries) == len(flat), "the keys of a dict")
        return {self._value(*key): self._value(*value) for key, value in entries.values()}

    def _value(self, item: Any, links: Sequence[Any]) -> Any:
        if isinstance(item, list | tuple):  # cbor2 makes tuples of arrays inside tags
            return self._list(item, links)
        if isinstance(item, Mapping):
            return {key: self._value(*self._at(value, links)) for key, value in item.items()}
        if not isinstance(item, cbor2.CBORTag):
            require(type(item) in PLAIN, "a CBOR item that no value has")
            return item
        content = item.value
        match item.tag:
            case 6:
                return self._value(*self._at(item, links))
            case 7:
                return tuple(self._list(content, links))
            case 8:
                return set(self._list(content, links))
            case 9:
                return frozenset(self._list(content, links))
            case 10:
                return self._dict([*self._items(content, links)])
            case 11:
                return bytearray(self._bytes(content, links))
            case 12:
                name, version, fields = content
                return self._registered(name, version, self._value(fields, links))
            case 13 if content[0] == 0:
                return self._list(item, links)
            case 13 if content[0] == 1:
                return self._bytes(item, links)
            case 14 if content[0] == 0:
                return self._bytes(content[1], links).decode()
            case 14:
                return scalar(*content)
            case 15:
                dtype, shape, fortran, data = content
                shape = None if shape is None else tuple(shape)
                return self._array(dtype, shape, fortran, self._bytes(data, links))
            case 16:
                node, order = content
                keys = None if order is None else [*self._items(order, links)]
                return self._dict([*self._items(node, links)], keys)
        raise NewerError(f"tag {item.tag}")


def is_tag(item: Any, tag: int) -> bool:
    return isinstance(item, cbor2.CBORTag) and item.tag == tag


def scalar(code: int, *content: Any) -> Any:
    match code, content:
        case 1, (real, imaginary):
            return complex(real, imaginary)
        case 2, (text,):
            return Decimal(text)
        case 3, (data,):
            return uuid.UUID(bytes=data)
        case 4, (year, month, day, *clock):
            return dt.datetime.combine(dt.date(year, month, day), time_of(clock))
        case 5, (year, month, day):
            return dt.date(year, month, day)
        case 6, clock:
            return time_of(clock)
        case 7, (days, seconds, microseconds):
            return dt.timedelta(days, seconds, microseconds)
        case 8, (flavour, text):
            # Paths of another kind of system are there in their pure form only.
            return [Path, PurePosixPath, PureWindowsPath, PureWindowsPath][flavour](text)
        case 9, _:
            return zone_of(content)
        case 10, (key,):
            return zone_of(key)
    raise NewerError(f"scalar {code}")


def time_of(clock: Sequence[Any]) -> dt.time:
    hour, minute, second, microsecond, fold, zone = clock
    return dt.time(hour, minute, second, microsecond, zone_of(zone), fold=fold)


def zone_of(zone: Any) -> dt.tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return zoneinfo.ZoneInfo(zone)
    offset, *name = zone
    return dt.timezone(dt.timedelta(microseconds=offset), *name)


# --- Section 12: bundles ---


class Carried(NamedTuple):
    """A checkpoint in a bundle."""

    run: str
    sequence: int
    id: bytes
    back: int
    flags: int
    key: str | None = None


class Bundle:
    """What is in a bundle.

    ``left_out`` are the ids of checkpoints that the receiver has. ``notes`` are pending writes and
    effects as the page has them.
    """

    def __init__(self, data: bytes) -> None:
        require(data.startswith(b"\x89hive bundle\r\n\x1a\n"), "the beginning of a bundle")
        require(digest_of(data[:-32]) == data[-32:], "a bundle")
        version = number_in(data[16:18])
        if version > 2:
            raise NewerError("bundle version")
        decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)
        stream = decompressor.decompressobj().decompress(data[18:-32])
        items, at = [], 0
        while at < len(stream):
            size = number_in(stream[at : at + 4])
            items.append(stream[at + 4 : at + 4 + size])
            at += 4 + size
        header, *items = items
        points, objects, object_bytes, self.left_out, *notes = cbor2.loads(header)
        behind = points + sum(notes)
        self.checkpoints = [Carried(*cbor2.loads(item)) for item in items[:points]]
        self.notes: list[Any] = [cbor2.loads(item) for item in items[points:behind]]
        frames = items[behind:]
        require(at == len(stream) and len(notes) == version - 1, "a bundle")
        require((len(frames), sum(map(len, frames))) == (objects, object_bytes), "a bundle")
        self.objects = {digest_of(frame): framed(frame) for frame in frames}

    def get(self, digest: bytes) -> Object:
        """Return the object with an address."""
        require(digest in self.objects, "an object is not in the bundle")
        return self.objects[digest]


def framed(frame: bytes) -> Object:
    """Return the object that has a frame."""
    version, count = struct.unpack_from(">BI", frame)
    if version != 1:
        raise NewerError("frame version")
    ends = range(5, 5 + 32 * count, 32)
    payload = frame[5 + 32 * count :]
    return Object(digest_of(frame), [frame[at : at + 32] for at in ends], payload)
