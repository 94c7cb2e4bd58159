"""What a study's database can be made again from: a ledger of its trials, and copies of the file.

`trials.jsonl` has a line for each trial as it was when its parameters were drawn, and another for
when it ended; the last line of a trial counts. A line is on the disk before the database hears of
what it says. `backups/study-000001.db` and on are the newest few copies.
"""

import json
import os
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.io.files import atomic_path, remove_leftovers, sync
from hpsearch.storage.run_dir import RunDir

_KEPT = 3
_SECONDS = 60.0  # between two copies


class Ledger:
    """Appends trials to a file; for the holder of the study's lock.

    Args:
        path: of the file, which appears with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, trial: FrozenTrial) -> None:
        """Add one line and wait until it is on the disk."""
        distributions = trial.distributions.items()
        values = {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "distributions": {name: distribution_to_json(one) for name, one in distributions},
            "user_attrs": trial.user_attrs,
            "system_attrs": trial.system_attrs,
            "intermediate_values": list(trial.intermediate_values.items()),
            "started": _text(trial.datetime_start),
            "ended": _text(trial.datetime_complete),
        }
        line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
        new = not self.path.exists()
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a killed writer's half line
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync(self.path.parent)


def read_ledger(path: Path) -> tuple[dict[int, FrozenTrial], int]:
    """The trials of a ledger by number, and how many of its lines are damaged and left out.

    A file that is not there has no trials.
    """
    if not path.exists():
        return {}, 0
    trials: dict[int, FrozenTrial] = {}
    damaged = 0
    for line in path.read_bytes().splitlines():
        if not line.strip():
            continue
        try:
            trial = _trial(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            damaged += 1
        else:
            trials[trial.number] = trial
    return trials, damaged


def back_up(database: Path, *, older_than: float = _SECONDS) -> Path | None:
    """Copy a database by SQLite's own backup, which sees one state of it, and drop the oldest.

    Args:
        database: of the study.
        older_than: seconds; nothing is done while the newest copy is younger.

    Returns:
        The copy, None where none was made: the newest is young enough, or the database is damaged.
    """
    earlier = backups_of(database)
    if earlier and time.time() - earlier[0].stat().st_mtime < older_than:
        return None
    number = int(earlier[0].stem.rpartition("-")[2]) + 1 if earlier else 1
    backups = RunDir(database.parent).backups
    copy = backups / f"{database.stem}-{number:06d}{database.suffix}"
    remove_leftovers(copy)
    try:
        with (
            atomic_path(copy) as partial,
            closing(sqlite3.connect(database)) as source,
            closing(sqlite3.connect(partial)) as target,
        ):
            target.execute("PRAGMA journal_mode=MEMORY")  # no second file, for it is renamed
            source.backup(target)
            if target.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("the copy is not whole")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return None
    for old in earlier[_KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return copy


def backups_of(database: Path) -> list[Path]:
    """The copies that there are, newest first."""
    copies = RunDir(database.parent).backups.glob(f"{database.stem}-[0-9]*{database.suffix}")
    return sorted(copies, reverse=True)


def _trial(values: dict[str, Any]) -> FrozenTrial:
    """The trial of a line; Optuna checks that its parts agree."""
    distributions = values["distributions"].items()
    trial = create_trial(
        state=TrialState[values["state"]],
        values=values["values"],
        params=values["params"],
        distributions={name: json_to_distribution(one) for name, one in distributions},
        user_attrs=values["user_attrs"],
        system_attrs=values["system_attrs"],
        intermediate_values=dict(values["intermediate_values"]),
    )
    trial.number = int(values["number"])
    started, ended = (
        datetime.fromisoformat(values[name]) if values[name] else None
        for name in ("started", "ended")
    )
    if (trial.datetime_start is None, trial.datetime_complete is None) != (
        started is None,
        ended is None,
    ):
        raise ValueError("times do not fit the state")
    trial.datetime_start, trial.datetime_complete = started, ended
    return trial


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
