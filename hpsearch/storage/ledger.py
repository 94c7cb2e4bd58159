"""The ledger of a study's trials: `trials.jsonl`, from which its database can be made again.

Each line is one trial as it was when its parameters were drawn, or when it ended; the last line of
a trial counts. A line is on the disk before the database hears of what it says.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from hpsearch.io.files import sync

LEDGER = "trials.jsonl"


class Ledger:
    """Appends trials to a file; for the holder of the study's lock.

    Args:
        path: of the file, which appears with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, trial: FrozenTrial) -> None:
        """Add one line and wait until it is on the disk."""
        line = json.dumps(_plain(trial), separators=(",", ":")).encode() + b"\n"
        new = not self.path.exists()
        with self.path.open("ab+") as file:
            if file.tell() and _last_byte(self.path) != b"\n":  # a killed writer's half line
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


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    distributions = trial.distributions.items()
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(found) for name, found in distributions},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate_values": list(trial.intermediate_values.items()),
        "started": _text(trial.datetime_start),
        "ended": _text(trial.datetime_complete),
    }


def _trial(values: dict[str, Any]) -> FrozenTrial:
    distributions = values["distributions"].items()
    trial = FrozenTrial(
        number=int(values["number"]),
        trial_id=-1,  # the database gives another
        state=TrialState[values["state"]],
        value=None,
        values=values["values"],
        params=values["params"],
        distributions={name: json_to_distribution(found) for name, found in distributions},
        user_attrs=values["user_attrs"],
        system_attrs=values["system_attrs"],
        intermediate_values=dict(values["intermediate_values"]),
        datetime_start=_time(values["started"]),
        datetime_complete=_time(values["ended"]),
    )
    trial._validate()
    return trial


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()
