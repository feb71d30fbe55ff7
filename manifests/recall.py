"""What this handle would know of a run if it had made the run's head itself.

The first commit after a restore, in a process that resumes a run or one of many runs that take
turns, finds no memory. Then what is stored of the parent becomes one: its larger lists and dicts
with their items as they were stored, to be compared with what is committed. Nothing is kept for it
when something is restored, and what the caller did with the restored state does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice, repeat
from typing import Final, Protocol

from cas.digest import Digest
from cas.errors import CorruptObjectError, HiveError
from cas.records import Record, RecordReader
from cas.store import ObjectStore
from manifests.bare import BareObjects, BareRegistry
from manifests.catalogue import Catalogue
from manifests.cbor import NODE, TREE_DICT, TUPLE, encode_text
from manifests.encoder import Encoder
from manifests.entries import Entries
from manifests.forms import Form, Forms, LinkForm, NodeParts, Tagged, pairs
from manifests.layout import Layout
from manifests.manifest import ManifestReader
from manifests.memo import Node
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink, size_of
from manifests.reading import StoreReader, stable
from manifests.segments import CONSTANT, LEAST_LIST_ITEMS, Segment
from manifests.trees import LIST_NODE, TreeBuilder, TreeCache, item_token

__all__ = ["recalled"]

_LEAST_BYTES: Final = 4_096
"""A smaller state is encoded as fast."""


class ListedParent(Protocol):
    """Where a commit is placed."""

    @property
    def run(self) -> str:
        """Its run."""
        ...

    @property
    def parent(self) -> Digest | None:
        """Its parent."""
        ...

    @property
    def parent_sequence(self) -> int:
        """The parent's sequence in that run."""
        ...


def recalled(store: ObjectStore, parameters: TreeParameters, place: ListedParent) -> Node | None:
    """Return the root of a memory of the parent of a commit, which its run lists.

    None if there is none to be had: the checkpoint is not there, or small, or more than 8 MiB, or
    damaged, or its state has no fields. Encoding everything is always right.
    """

    def look_up(records: RecordReader) -> Record | None:
        catalogue = Catalogue(records.transaction)
        run = catalogue.run(place.run)
        listed = None if run is None else catalogue.checkpoint(run.number, place.parent_sequence)
        if listed is None or listed.id != place.parent or listed.hidden:
            return None
        return records.read_as(listed.record, listed.id)

    def recall(reader: StoreReader) -> Node | None:
        record = reader.run(look_up)
        if record is None:
            return None
        manifest = ManifestReader(reader.load).read(record)
        if manifest.logical_bytes < _LEAST_BYTES:
            return None
        closure = reader.gather(record.links)
        if closure is None:
            return None
        return _Recall(BareObjects(closure), parameters).root(manifest.state)

    with suppress(HiveError, RecursionError):
        return stable(store, recall)
    return None


class _Recall:
    """Makes nodes of stored values."""

    def __init__(self, objects: BareObjects, parameters: TreeParameters) -> None:
        self._objects = objects
        self._parameters = parameters
        registry = BareRegistry()
        self._forms = Forms(registry, objects.load)
        sink = PieceSink()
        self._encoder = Encoder(registry, parameters, sink)
        self._layout = Layout(parameters, sink, TreeBuilder(parameters, sink))

    def root(self, form: Form) -> Node | None:
        """Return the node of a state's root, or None if it is not a short dict of texts."""
        fields = self._forms.fields(form)
        if type(fields) is not dict:
            return None
        node = Node(None, is_dict=True)
        segments = []
        for key, field in fields.items():
            segment = CONSTANT
            below = self._below(self._forms.follow(field))
            if below is None:
                self._add(node, field)
            else:
                segment = Segment()
                segment.nodes.append(below)
                node.values.append(None)  # the node below decides
                node.pieces.append(b"")
            segments.append(segment)
            node.keys.append(key)
            node.encoded_keys.append(encode_text(key))
        node.placed = list(node.pieces)
        node.segments = segments
        return node

    def _below(self, form: Form) -> Node | None:
        if isinstance(form, Tagged) and form.tag == TUPLE:
            form = self._forms.follow(form.content)
        if type(form) is list:
            return self._short_list(form) if len(form) >= LEAST_LIST_ITEMS else None
        if not isinstance(form, Tagged):
            return None
        if form.tag == TREE_DICT:
            return self._large_dict(form)
        return self._long_list(form) if form.tag == NODE else None

    def _add(self, node: Node, form: Form) -> None:
        """Add an item as it stands in its container."""
        if isinstance(form, LinkForm):
            node.values.append(self._objects.values[form.name])
            node.pieces.append(self._objects.link(form.name))
        else:
            value = self._forms.value(form)
            node.values.append(value)
            node.pieces.append(self._encoder.value(value))

    def _short_list(self, items: Sequence[Form]) -> Node:
        node = Node(None, is_dict=False)
        for item in items:
            self._add(node, item)
        return _finished(node)

    def _long_list(self, form: Form) -> Node | None:
        top = self._forms.node(form)
        if top.kind != LIST_NODE:
            return None
        node = Node(None, is_dict=False)
        for run, count in self._runs(node.tree, top):
            start = len(node.values)
            self._add_run(node, run)
            if len(node.values) - start != count:
                raise CorruptObjectError("a tree node does not hold what it counts")
            node.tree.note(0, count, self._objects.link(run.name), count)
        return _finished(node)

    def _runs(self, tree: TreeCache, parts: NodeParts) -> Iterator[tuple[LinkForm, int]]:
        """Yield the runs below a node with their counts, and note the inner nodes."""
        for child, count, first in zip(
            parts.children, parts.counts, parts.firsts or repeat(None), strict=False
        ):
            if parts.level == 1:
                yield child, count
                continue
            below = self._forms.node(self._forms.below(parts, child))
            link = self._objects.link(child.name)
            tree.note(below.level, len(below.children), link, count, first)
            yield from self._runs(tree, below)

    def _add_run(self, node: Node, run: LinkForm) -> None:
        objects = self._objects
        numbers = objects.items(run.name)
        if numbers is not None:
            node.values.extend([objects.values[number] for number in numbers])
            node.pieces.extend([objects.link(number) for number in numbers])
            return
        for item in _listed(self._forms.follow(run)):
            self._add(node, item)

    def _large_dict(self, form: Tagged) -> Node | None:
        """Return the node of a dict of texts that is a tree."""
        top, order = self._forms.tree(form)
        # A smaller dict keeps its values inside, which are not known as that here.
        node = Node(None, is_dict=True, least=self._parameters.short_items + 1)
        node.entries = Entries()
        items: dict[str, Form] = {}
        for run, count in self._runs(node.entries.tree, self._forms.node(top)):
            start = len(items)
            for key, item in pairs(_listed(self._forms.follow(run))):
                if type(key) is not str:
                    return None
                items[key] = item
            if len(items) - start != count or not count:
                raise CorruptObjectError("a tree node does not hold what it counts")
            first = encode_text(next(islice(items, start, None)))
            node.entries.tree.note(0, count, self._objects.link(run.name), count, first)
        keys = list(items) if order is None else self._forms.value(order)
        for key in keys:
            self._add(node, items[key])
            node.keys.append(key)
            node.encoded_keys.append(encode_text(key))
        node.placed = list(node.pieces)
        node.segments = [CONSTANT] * len(node.values)
        placed = dict(zip(node.encoded_keys, node.pieces, strict=True))
        in_order = list(map(encode_text, items))
        if in_order != sorted(in_order):
            return None
        node.entries.recall(in_order, placed)
        self._layout.key_order(node.encoded_keys, node.entries, [])
        return node


def _listed(form: Form) -> list[Form]:
    if type(form) is not list:
        raise CorruptObjectError("a tree has something else where a run should be")
    return form


def _finished(node: Node) -> Node:
    node.tokens = [item_token(piece) for piece in node.pieces]
    node.sizes = [size_of(piece) for piece in node.pieces]
    # What was decoded for the comparison is known to nobody else, and cannot change.
    node.segments = [CONSTANT] * len(node.values)
    return node
