"""``hive effects``: what a run did outside of its state and will not do again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_read
from hive.cli.output import Column, line, table, write_json
from hive.cli.values import to_json
from hive.literals import glimpse

if TYPE_CHECKING:
    from hive.cli.shapes import RecordedEffectJson
    from manifests import RecordedEffect

__all__ = ["effects"]


def effects(run: RunArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the effects that a run recorded: what it did outside and will not do again.

    The earliest stands first. AFTER is the last checkpoint before it: 0 if there was none, or if
    the run was forked from another that had done it.
    """
    with open_to_read(home) as repo:
        found = repo.recorded_effects(run)
        if not found:
            repo.log(run, limit=1)  # a run that is not there is an error, not one without effects
    if as_json:
        write_json([_as_json(effect) for effect in found])
    elif found:
        table(
            [
                Column(title="EFFECT", shrinks=True),
                Column(title="AFTER", right=True),
                Column(title="VALUE", shrinks=True),
            ],
            [[effect.name, str(effect.after), glimpse(effect.value)] for effect in found],
        )
    else:
        line("This run recorded no effects.")


def _as_json(effect: RecordedEffect) -> RecordedEffectJson:
    return {"name": effect.name, "after": effect.after, "value": to_json(effect.value)}
