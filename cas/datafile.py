"""What an LMDB data file says about itself, read without mapping it.

A data file that is shorter than its newest meta page promises kills the process with SIGBUS at
the first access behind its end: LMDB checks nothing. So size and meta pages are looked at with
plain reads before LMDB sees the file.

A healthy file may be shorter, though. Pages that one transaction allocates and gives up again are
counted in ``last_page`` but never written: in 60 of 60 random workloads with deletions the file
was short after some commit, by up to 620 kB. Such pages stand in the free list, and LMDB never
reads a free page; so a short file is accepted exactly when every missing page is free.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cas.errors import CorruptStoreError, UnsupportedFormatError
from cas.failures import translate
from cas.freelist import free_pages_from, newest_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "PAGE_SIZES",
    "DamagedMetaError",
    "Meta",
    "check_data_file",
    "newest_meta",
    "parse_meta",
    "refuse_other_format",
]

_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1
_HEADER_BYTES: Final = 16
_META_FLAG: Final = 0x08
_FREE_TREE_FLAGS: Final = 0x08  # Keys are integers.
_NO_PAGE: Final = (1 << 64) - 1
PAGE_SIZES: Final = tuple(1 << bits for bits in range(8, 16))
"""What a page may have, in bytes."""
# Header: page number, pad, flags, bounds. Meta: magic, version, address, map size, then the
# records of the free list and the main tree (48 bytes each, the first four bytes of the former
# being the page size), last page, transaction number.
_META: Final = struct.Struct("=QHHHH IIQQ IHHQQQQQ IHHQQQQQ QQ")
# A meta page is overwritten in place by live writers, and a plain read may see half of that.
_ATTEMPTS: Final = 6
_PAUSE_SECONDS: Final = 0.002
# A new file's first commits have nothing to free.
_FIRST_COMMITS: Final = 1


@dataclass(frozen=True)
class Meta:
    """The fields of one meta page that matter here. Pages are counted from 0.

    The size of the map stands there too, but is not trusted: one flipped bit of it asks for more
    address space than there is.
    """

    page_bytes: int
    last_page: int
    transaction: int
    free_root: int
    main_root: int

    @property
    def used_bytes(self) -> int:
        """The length that the file needs, were all its pages written."""
        return (self.last_page + 1) * self.page_bytes

    @property
    def has_possible_roots(self) -> bool:
        """Whether its roots are pages of the file.

        Those of the older meta page need not be: where the write of a meta page fails, LMDB puts
        back the numbers that stood there, and leaves the roots of the commit that failed.
        """
        roots = (self.free_root, self.main_root)
        return all(root == _NO_PAGE or 1 < root <= self.last_page for root in roots)


class DamagedMetaError(Exception):
    """One meta page makes no sense; perhaps a writer is at work on it."""


def parse_meta(data: bytes, number: int) -> Meta:
    """Return the meta page ``number`` whose first bytes are ``data``.

    Raises:
        DamagedMetaError: They make no sense.
        UnsupportedFormatError: They are of another LMDB format.
    """
    if len(data) < _META.size:
        raise DamagedMetaError(f"the file ends inside meta page {number}")
    fields = _META.unpack_from(data)
    if fields[5] != _MAGIC:
        raise DamagedMetaError(f"meta page {number} has no LMDB mark")
    if fields[6] != _DATA_VERSION:
        raise UnsupportedFormatError(
            f"LMDB data format {fields[6]}; this version of Hive knows format {_DATA_VERSION}"
        )
    meta = Meta(
        page_bytes=fields[9],
        last_page=fields[25],
        transaction=fields[26],
        free_root=fields[16],
        main_root=fields[24],
    )
    if meta.page_bytes not in PAGE_SIZES:
        raise DamagedMetaError(f"meta page {number} names a page size of {meta.page_bytes}")
    if fields[0] != number or not fields[2] & _META_FLAG:
        raise DamagedMetaError(f"page {number} is not a meta page")
    if meta.transaction and meta.transaction % 2 != number:
        raise DamagedMetaError(f"meta page {number} has transaction {meta.transaction}")
    # Another flag of the main tree hides the tables in it, which would then read as empty.
    if (fields[10], fields[17], fields[18]) != (_FREE_TREE_FLAGS, 0, 0):
        raise DamagedMetaError(f"meta page {number} has impossible flags")
    if meta.last_page < 1:
        raise DamagedMetaError(f"meta page {number} names pages that cannot be")
    return meta


def refuse_other_format(head: bytes) -> None:
    """Refuse what is LMDB, but not format 1 of this machine's byte order.

    Raises:
        UnsupportedFormatError: ``head`` starts such a file.
    """
    for order in ("little", "big"):
        mark = _MAGIC.to_bytes(4, order)
        for offset in range(8, 64, 4):
            if head[offset : offset + 4] != mark:
                continue
            version = int.from_bytes(head[offset + 4 : offset + 8], order)
            if (offset, order, version) != (_HEADER_BYTES, sys.byteorder, _DATA_VERSION):
                raise UnsupportedFormatError(
                    f"LMDB data format {version}, {order}-endian; this version of Hive reads "
                    f"format {_DATA_VERSION} of {sys.byteorder}-endian machines"
                )


def _read_metas(descriptor: int) -> tuple[Meta, Meta]:
    """Return both meta pages of the open data file."""
    head = os.pread(descriptor, _META.size, 0)
    refuse_other_format(head)
    first = parse_meta(head, 0)
    second = parse_meta(os.pread(descriptor, _META.size, first.page_bytes), 1)
    if first.page_bytes != second.page_bytes:
        raise DamagedMetaError("the meta pages disagree on the page size")
    if abs(first.transaction - second.transaction) > 1:
        raise DamagedMetaError(
            f"the meta pages are of transactions {first.transaction} and {second.transaction}, "
            "which do not follow each other"
        )
    return first, second


def newest_meta(descriptor: int) -> Meta:
    """Return the meta page of the last commit in the data file open as ``descriptor``.

    Both meta pages must be sound: LMDB refuses the file otherwise, and the sound one may be the
    commit before the last, so that going on with it would lose an acknowledged one in silence.

    Raises:
        CorruptStoreError: A meta page is damaged.
        UnsupportedFormatError: The file has another LMDB format.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            newest = max(_read_metas(descriptor), key=lambda meta: meta.transaction)
            if not newest.has_possible_roots:
                raise DamagedMetaError("its last commit names pages that cannot be")
            return newest
        except DamagedMetaError as error:
            reason = str(error)
            if os.fstat(descriptor).st_size < _META.size:
                break
    raise CorruptStoreError(f"the LMDB file is damaged: {reason}")


def _complaint(descriptor: int, meta: Meta) -> str | None:
    """Return what is wrong with the file, as far as ``meta`` shows it; ``None`` if nothing is."""
    # Every commit frees the pages it replaces, so the list ends with the commit's own number. A
    # list that does not is an older one, and its "free" pages are in use.
    newest = newest_record(descriptor, meta.free_root, meta.page_bytes)
    is_current = newest == meta.transaction or meta.transaction <= _FIRST_COMMITS
    # The size is taken after the meta page: pages are written before the meta page that counts
    # them, so a live writer cannot make a sound file look short.
    size = os.fstat(descriptor).st_size
    first_missing = size // meta.page_bytes
    missing = meta.last_page + 1 - first_missing
    if missing <= 0:
        return None if is_current else "its meta pages lead to a wrong list of free pages"
    free = free_pages_from(descriptor, meta.free_root, meta.page_bytes, first_missing)
    if is_current and free is not None and sum(page <= meta.last_page for page in free) == missing:
        return None
    return f"it is truncated: it has {size} bytes, its last commit needs {meta.used_bytes}"


def _check(descriptor: int) -> Meta:
    """Return the newest meta page after comparing the file with it."""
    complaint = None
    for _ in range(_ATTEMPTS):
        meta = newest_meta(descriptor)
        complaint = _complaint(descriptor, meta)
        if complaint is None:
            return meta
        if newest_meta(descriptor).transaction == meta.transaction:
            break
        # A writer went on meanwhile and may have reused the pages that were just looked at.
    raise CorruptStoreError(f"the LMDB file is damaged: {complaint}")


def check_data_file(path: Path) -> Meta:
    """Return the newest meta page of the data file ``path`` after checking the file's size.

    Raises:
        CorruptStoreError: The file is truncated, or is not a sound LMDB file.
        UnsupportedFormatError: The file has another LMDB format.
        HiveError: The file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, path) from error
    try:
        return _check(descriptor)
    except CorruptStoreError as error:
        raise CorruptStoreError(
            f"{path}: {error}; restore the store from a copy, or salvage it", path=path
        ) from error
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(
            f"{path}: {error}; upgrade Hive, or export the store where it was written"
        ) from error
    except OSError as error:
        raise translate(error, path) from error
    finally:
        os.close(descriptor)
