"""``Upkeep``: the part of a repository that keeps it small, sound and portable."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pydantic

from cas.errors import InvalidInputError, ReadOnlyStoreError
from cas.store import ObjectStore
from cas.upkeep import OnProgress, silent
from manifests import history, listing
from manifests.arguments import check_seconds, listed, path_of
from manifests.catalogue import Catalogue
from manifests.clock import Clock, check_moment
from manifests.events import Compacted, Forgot, GarbageCollected, RunDeleted
from manifests.listeners import Events
from manifests.manifest import Checkpoint, microseconds
from manifests.names import check_name
from manifests.reading import StoreReader, stable
from manifests.refs import RefLike
from manifests.roots import STORE_TABLES
from manifests.seen import SeenHeads

if TYPE_CHECKING:
    from manifests.check import CheckReport
    from manifests.collection import CompactReport, GcReport
    from manifests.export import ExportReport
    from manifests.forgetting import ForgetPlan
    from manifests.importing import ImportReport
    from manifests.needs import Rebuilt
    from manifests.repair import RepairReport
    from manifests.retention import RetentionPolicy

# What a method here needs is imported when it is called: a program that saves and restores, and a
# command that shows something, start a fifth sooner without it.

__all__ = ["OBJECTS_FOLDER", "Pin", "Upkeep", "open_home"]

OBJECTS_FOLDER: Final = "objects"


class Pin(pydantic.BaseModel):
    """A checkpoint that is kept without having a name, and why."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    checkpoint: Checkpoint
    reason: str


class Upkeep:
    """What ``Repository`` does besides saving and reading."""

    home: Path
    events: Events
    _store: ObjectStore
    _clock: Clock
    _seen: SeenHeads

    # Forgetting

    def forget(
        self,
        what: RetentionPolicy | ForgetPlan | Iterable[RefLike],
        *,
        run: str | None = None,
        now: dt.datetime | None = None,
        dry_run: bool = False,
        rebuilt: Rebuilt | None = None,
        progress: OnProgress | None = None,
    ) -> ForgetPlan:
        """Take checkpoints off their runs' lists; ``gc`` then frees what only they kept.

        Args:
            what: A policy; or references to exactly the checkpoints to forget; or what a dry run
                returned, to do just that.
            run: Apply the policy to this run alone; its limits for the store then count it alone.
            now: The moment that ``keep_within`` counts back from; by default the clock's.
            dry_run: Return the plan and change nothing.
            rebuilt: For a policy and runs whose framework stores some keys of the state only now
                and then: says which, given an execution record (None: it cannot tell, and all that
                is needed is kept as it is). What a checkpoint needs is then told key by key, and
                what is kept only for others leaves the list, as with ``withdraw``.
            progress: Called between the transactions.

        Returns:
            The plan as it was executed, with a reason for everything that stays or goes.

        Never forgotten: the head of a run, its newest checkpoint that an executor can resume, what
        is tagged or pinned, what has unresolved pending writes, and what a kept checkpoint needs.
        To a policy they are reasons to keep; a reference to one is refused with ``ConflictError``.
        It works in transactions of up to 250 checkpoints; each leaves a consistent history.

        Raises:
            NotFoundError: There is no such run or checkpoint.
            InvalidInputError: The policy keeps a kind of checkpoint that does not exist.
            ConflictError: A checkpoint named must stay. Nothing is forgotten, unless it came to
                that while earlier ones of more than 250 were forgotten.
            CorruptionError: What the policy has to know cannot be read. Nothing is forgotten.
        """
        from manifests.forgetting import ForgetPlan, execute, plan_by_name, plan_by_policy
        from manifests.hiding import hide
        from manifests.retention import RetentionPolicy

        if not dry_run:
            self._refuse_read_only()
        told = progress or silent
        if run is not None:
            check_name(run, "run name")
        if rebuilt is not None and not isinstance(what, RetentionPolicy):
            raise InvalidInputError("rebuilt goes with a policy; a plan remembers it")
        if isinstance(what, ForgetPlan):
            made = what
        elif isinstance(what, RetentionPolicy):
            moment = self._clock() if now is None else now
            check_moment(moment, "now")
            policy = what
            made = stable(
                self._store,
                lambda reader: plan_by_policy(reader, policy, run, moment, told, rebuilt),
            )
        else:
            refs = listed(what, "this takes a policy, a plan or a list of references")
            if run is not None:
                raise InvalidInputError("run goes with a policy; a reference names its run itself")
            made = stable(
                self._store,
                lambda reader: plan_by_name(
                    reader, [history.find(reader, ref).checkpoint for ref in refs]
                ),
            )
        if dry_run:
            return replace(made, dry_run=True)
        with self.events.during("forget") as tell:
            done = execute(self._store, hide(self._store, made), told)
            dropped, kept = len(done.dropped), len(done.kept)
            tell(lambda seconds: Forgot(dropped=dropped, kept=kept, seconds=seconds))
            return done

    def delete_run(self, name: str, *, force: bool = False) -> int:
        """Remove a run with all its checkpoints, head included; returns how many it had.

        Other runs keep what they share with it, forks of it included.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: Checkpoints of it are tagged or pinned; ``force`` removes that too.
        """
        self._refuse_read_only()
        with self.events.during("delete_run") as tell:
            deleted = self._store.write(
                lambda writer: listing.delete_run(writer, name, force=force), frees_space=True
            )
            self._seen.lose(name)
            tell(lambda seconds: RunDeleted(run=name, checkpoints=deleted, seconds=seconds))
            return deleted

    def pin(self, ref: RefLike, reason: str | None = None) -> Checkpoint:
        """Keep a checkpoint from being forgotten, perhaps saying why; returns it.

        A pin has no name of its own: a checkpoint has one or none, and a second replaces it.
        """
        self._refuse_read_only()
        found = stable(self._store, lambda reader: history.find(reader, ref)).checkpoint
        self._store.write(lambda writer: listing.pin(writer, found, reason or ""))
        return found

    def unpin(self, ref: RefLike) -> None:
        """Remove a pin. ``NotFoundError`` if the checkpoint has none."""
        self._refuse_read_only()
        self._store.write(lambda writer: listing.unpin(writer, ref), frees_space=True)

    def pins(self) -> list[Pin]:
        """Return all pins."""
        return stable(self._store, _pins)

    # Freeing space

    def gc(
        self,
        *,
        dry_run: bool = False,
        whole: bool = False,
        time_budget: float | None = None,
        after: ForgetPlan | None = None,
        progress: OnProgress | None = None,
    ) -> GcReport:
        """Free what no run, tag or pin leads to any more, beside live readers and writers.

        The file does not shrink: new checkpoints use the space, and ``compact`` returns it.

        Args:
            dry_run: Only say what would be freed.
            whole: Look at everything, not just at what can have become garbage since the last
                time.
            time_budget: Seconds after which no further transaction begins. Marking is not cut
                short and one batch is freed in any case; what is left is the next call's.
            after: With ``dry_run``: say what would be freed once this plan had been executed.
            progress: Called between the transactions, each of which takes some milliseconds.

        Raises:
            CorruptionError: Something that may be in use cannot be read; nothing more is freed.
            ConflictError: Another gc or compact outlasted the ``time_budget``, and half a second.
            StoreFullError: The disk is too full even for that.
        """
        from manifests.collection import collect

        if not dry_run:
            self._refuse_read_only()
        if after is not None and not dry_run:
            raise InvalidInputError("a plan goes with dry_run; execute it with forget before gc")
        check_seconds(time_budget, "time_budget")
        with self.events.during("gc") as tell:
            report = collect(
                self._store,
                dry_run=dry_run,
                whole=whole,
                time_budget=time_budget,
                after=after,
                progress=progress,
            )
            tell(lambda seconds: GarbageCollected(report=report, seconds=seconds))
            return report

    def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """Make the file as small as what is kept, packed more densely than commits can.

        It works beside live readers and writers, in this and in other processes; they wait only
        while the last changes are copied and the new file is put in place. What gc would free is
        left out. The disk needs room for a copy of the rest meanwhile.

        Args:
            progress: Called between steps.

        Raises:
            CorruptionError: Something that is in use is damaged; nothing was changed.
            StoreFullError: The disk has no room for the copy; nothing was changed.
        """
        from manifests.collection import compact

        self._refuse_read_only()
        with self.events.during("compact") as tell:
            report = compact(self._store, progress=progress)
            tell(lambda seconds: Compacted(report=report, seconds=seconds))
            return report

    # Soundness

    def check(self, *, read_data: bool = True, progress: OnProgress | None = None) -> CheckReport:
        """Look for damage everywhere, beside whoever works with the store.

        Every record is hashed and its links are followed, every row of the catalogue is verified
        and led back to its checkpoint, the index and the counters are compared with what there is,
        and LMDB's own structure is walked on a private copy of its file (which takes as much room
        for that long).

        Args:
            read_data: False leaves out hashing, which is about half of the work.
            progress: Is told how far it is.
        """
        from manifests.check import check

        return check(self._store, read_data=read_data, progress=progress or silent)

    def repair(
        self,
        *,
        source: Upkeep | str | Path | None = None,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> RepairReport:
        """Put right what ``check`` finds; drop what cannot be, and nothing else.

        What is damaged is taken from the source, if that has it: then nothing is lost, and every
        checkpoint stays where it is. Checkpoints, tags and pins that still cannot be restored are
        dropped; a run whose head is among them goes on at its newest ancestor that is left.
        Index and counters are made right. It is one transaction: all of it happens, or nothing.

        Danger: what is dropped here can no longer be repaired from a copy that turns up later. Look
        at a dry run first.

        Args:
            source: Another repository, the home of one, or a bundle.
            dry_run: Say what would be done, and change nothing. If the store is open for reading
                only and has damage, it is tried out on a copy, which takes as much room.
            progress: Is told how far it is.

        Raises:
            CorruptStoreError: LMDB's own structure is damaged; nothing is changed then.
        """
        from manifests.repair import repair
        from manifests.sources import opened_source

        if not dry_run:
            self._refuse_read_only()
        given = source._store if isinstance(source, Upkeep) else source
        place = Path(given) if isinstance(given, str) else given
        with opened_source(place, open_home) as other:
            report = repair(self._store, other, dry_run=dry_run, progress=progress or silent)
        self._seen.lose(None)
        return report

    # Copies

    def export(
        self,
        refs: Iterable[RefLike],
        file: str | Path,
        *,
        history: bool = False,
        have: Iterable[RefLike] = (),
    ) -> ExportReport:
        """Write checkpoints and the objects they need to one file, a bundle.

        Args:
            refs: The checkpoints.
            file: Where to write; what is there is replaced once the bundle is complete.
            history: Add the checkpoints that their runs keep before them. Those that they cannot be
                used without come along in any case.
            have: Checkpoints that the receiver holds: what those reach is left out. Ids that this
                store does not know are passed over.

        Raises:
            NotFoundError: A reference names nothing.
            CorruptionError: An object is damaged; no file is left.
        """
        from manifests.export import export

        place = path_of(file, "file")
        chosen = listed(refs, "refs is a list of references")
        held = listed(have, "have is a list of references")
        return stable(
            self._store, lambda reader: export(reader, chosen, place, history=history, have=held)
        )

    def import_bundle(
        self, file: str | Path, *, name: str | None = None, max_bytes: int | None = None
    ) -> ImportReport:
        """Take over the checkpoints of a bundle, under their own runs and sequences.

        Everything is verified before a name is written. Importing a bundle again changes nothing.
        A run that exists gets back what it forgot, and goes on if the bundle does where it ends.

        Args:
            file: The bundle.
            name: Import its only run under this name.
            max_bytes: The most bytes of objects to accept; by default 200 times the file's size,
                or 256 MiB if that is more.

        Raises:
            ConflictError: A run of that name is another one.
            CorruptionError: The bundle is damaged, or lacks objects that this store lacks too.
            InvalidInputError: It is no bundle, or has a name that no run should have.
            LimitError: It holds more than ``max_bytes``.
            UnsupportedFormatError: A newer Hive wrote it.
        """
        from manifests.importing import import_bundle

        self._refuse_read_only()
        return import_bundle(
            self._store,
            path_of(file, "file"),
            name=name,
            max_bytes=max_bytes,
            created_us=microseconds(self._clock()),
        )

    def backup(self, home: str | Path) -> Path:
        """Copy the whole store, as of one moment, to a new home; returns that of the copy.

        Writers go on meanwhile. (Copying the folder of a store in use gives no usable store.)

        Raises:
            ConflictError: There is a store in that home.
            HiveError: It cannot be written; nothing is left behind.
        """
        from cas.backup import back_up

        place = path_of(home, "home").absolute()
        back_up(self._store.environment, place / OBJECTS_FOLDER)
        return place

    def _refuse_read_only(self) -> None:
        if self._store.environment.read_only:
            raise ReadOnlyStoreError(f"the store in {self.home} is open for reading only")


def open_home(home: Path) -> ObjectStore:
    """Open the store of a home for reading."""
    place = home / OBJECTS_FOLDER
    return ObjectStore.open(place, tables=STORE_TABLES, create=False, read_only=True)


def _pins(reader: StoreReader) -> list[Pin]:
    rows = reader.run(lambda records: list(Catalogue(records.transaction).pins()))
    return [
        Pin(checkpoint=history.find_pinned(reader, row).checkpoint, reason=row.reason)
        for row in rows
    ]
