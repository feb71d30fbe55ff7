"""Claims: which process goes on with a run. They warn early; what decides is the head of the run.

Two processes that resume one run would both do its next step before one of them loses at its first
commit. So whoever goes on with a run says so first. A claim ends with its process, however that
ends (see :mod:`cas.owner`; no clock is asked), or when the run was seen to stop since. A row's key
is the key of the run's name; its value CBOR ``[run, at, token, owner]`` with ``at`` the sequence of
the head that the claim was made at, and an empty owner once the claim was given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import cbor2

from cas.digest import Digest
from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import ConflictError, CorruptStoreError
from cas.mutex import Mutex
from cas.owner import Owner
from cas.shape import Shape, shaped
from cas.writer import RecordWriter
from manifests.catalogue import Catalogue
from manifests.names import name_key

__all__ = [
    "CLAIMS",
    "PreparedClaim",
    "RunClaim",
    "claim_row",
    "claim_rows",
    "drop_claim",
    "give_up",
    "hold",
    "let_go",
]

CLAIMS: Final = Table("claims")
_SHAPES: Final[tuple[Shape, ...]] = ((str, int, bytes, bytes),)

_held: set[bytes] = set()
_held_lock = Mutex()
"""The tokens of the claims that this process holds: one that it let go of is not in force."""


@dataclass(frozen=True, slots=True)
class RunClaim:
    """What says who goes on with a run.

    Attributes:
        run: The run's name.
        at: The sequence of the head that the claim was made at; 0 if the run was new.
        token: Tells the claims of one process apart.
        owner: The process; None once it gave the claim up.
    """

    run: str
    at: int
    token: bytes
    owner: Owner | None

    @property
    def is_held(self) -> bool:
        """Whether the process that made the claim lives and did not let go of it."""
        if self.owner is None:
            return False
        if self.owner == Owner.current():
            with _held_lock:
                return self.token in _held
        return self.owner.is_alive()


@dataclass(frozen=True, slots=True)
class PreparedClaim:
    """A claim to be written.

    Attributes:
        claim: The claim.
        head: The run's head as (sequence, id), which must still be it; None if the run is new.
        stopped: Whether the run stands where whoever had it before is done with it.
    """

    claim: RunClaim
    head: tuple[int, Digest] | None
    stopped: bool

    @property
    def object_bytes(self) -> int:
        """It stores no objects."""
        return 0

    def apply(self, writer: RecordWriter) -> bool:
        """Write the claim; raises what ``check`` raises."""
        self.check(writer)
        self.put(writer)
        return True

    def put(self, writer: RecordWriter) -> None:
        """Write the claim, which was checked in this transaction."""
        _write(writer.writing, self.claim)

    def check(self, writer: RecordWriter) -> None:
        """Refuse a claim that cannot be made, before anything is put.

        Raises:
            ConflictError: Another one is in force, or the head was moved.
        """
        run = self.claim.run
        before = claim_row(writer.writing, run)
        done = before is None or (self.stopped and before.at < self.claim.at)
        if before is not None and not done and before.token != self.claim.token and before.is_held:
            who = before.owner.pid if before.owner is not None else 0
            raise ConflictError(
                f"run {run!r} is being executed by process {who}; wait for it, or stop it",
                run=run,
            )
        catalogue = Catalogue(writer.writing)
        row = catalogue.run(run)
        listed = None if row is None else catalogue.checkpoint(row.number, row.head)
        head = None if row is None or listed is None else (row.head, listed.id)
        if head != self.head:
            raise ConflictError(
                f"run {run!r} was moved on by somebody else; resume it from its head",
                run=run,
            )


def hold(token: bytes) -> None:
    """Count a claim of this process as held, from before it is written."""
    with _held_lock:
        _held.add(token)


def let_go(token: bytes) -> None:
    """Count a claim of this process as held no more."""
    with _held_lock:
        _held.discard(token)


def claim_rows(transaction: ReadTransaction) -> Iterator[RunClaim]:
    """Yield all claims, by run; whether they are held is for the caller to ask.

    A damaged one is left out: it is a warning, and to miss it stops nobody from listing runs. A
    check of the store reports it, and a repair removes it.
    """
    for key, sealed in transaction.items(CLAIMS.sealed):
        try:
            yield _claim(CLAIMS.unseal(key, sealed))
        except CorruptStoreError:
            continue


def give_up(transaction: WriteTransaction, run: str, token: bytes) -> None:
    """Leave a run to whoever wants it, if the claim of that token is the last one."""
    before = claim_row(transaction, run)
    if before is not None and before.token == token:
        _write(transaction, replace(before, owner=None))


def drop_claim(transaction: WriteTransaction, run: str) -> None:
    """Remove the claim of a run that is being deleted."""
    transaction.delete(CLAIMS, name_key(run, "run name"))


def claim_row(transaction: ReadTransaction, run: str) -> RunClaim | None:
    """Return the last claim on a run; None if there is none."""
    try:
        row = transaction.get(CLAIMS, name_key(run, "run name"))
        return None if row is None else _claim(row)
    except CorruptStoreError:
        return None  # a damaged warning is none; the head still decides


def _write(transaction: WriteTransaction, claim: RunClaim) -> None:
    owner = b"" if claim.owner is None else claim.owner.to_bytes()
    fields = [claim.run, claim.at, claim.token, owner]
    transaction.put(CLAIMS, name_key(claim.run, "run name"), cbor2.dumps(fields))


def _claim(row: bytes) -> RunClaim:
    run, at, token, owner = shaped(row, _SHAPES)
    return RunClaim(run, at, token, Owner.from_bytes(owner) if owner else None)
