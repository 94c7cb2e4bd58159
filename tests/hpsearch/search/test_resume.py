"""What a kill costs a search: the folds under way, and nothing else."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpsearch.config.spec import CRITERIA
from hpsearch.storage.database import winner
from hpsearch.storage.run_dir import DATABASE

Desk = Any  # of conftest.py, which tests cannot import from


def test_a_kill_with_pruning_is_taken_up_where_it_was(
    desk: Desk, pruner: optuna.pruners.BasePruner
) -> None:
    desk.pruner = pruner
    desk.kill(60, pruning=True)
    assert desk.engine.stored
    desk.search(pruning=True)
    assert desk.states() == {"COMPLETE": 2, "PRUNED": 1}
    assert max(Counter(desk.engine.finished).values()) == 1


@pytest.mark.slow
def test_a_kill_anywhere_loses_nothing(desk_in: Any, quick_disk: Path) -> None:
    undisturbed = desk_in(quick_disk / "undisturbed")
    study = undisturbed.search(n_trials=2)
    expected, rows, ticks = undisturbed.outcome(), undisturbed.rows(), undisturbed.ticks
    best = [winner(study, criterion).number for criterion in CRITERIA]
    assert ticks > 40
    empty = desk_in(quick_disk / "empty")
    empty.create()
    for at in range(1, ticks + 1):
        folder = quick_disk / str(at)
        shutil.copytree(empty.folder, folder)
        desk = desk_in(folder)
        desk.kill(at, n_trials=2)
        study = desk.search(n_trials=2)
        assert desk.outcome() == expected, f"killed at {at}"
        assert len(study.get_trials()) == 2
        assert [winner(study, criterion).number for criterion in CRITERIA] == best
        assert max(Counter(desk.engine.finished).values()) == 1, f"trained twice, killed at {at}"
        assert desk.rows() == rows
        shutil.rmtree(folder)


def test_a_lost_database_is_filled_from_the_stored_results(desk: Desk) -> None:
    desk.search()
    before, rows = desk.outcome(), desk.rows()
    (desk.folder / DATABASE).unlink()
    desk.engine.started.clear()
    desk.search()
    assert desk.outcome() == before
    assert desk.rows() == rows
    assert not desk.engine.started


def test_a_running_trial_that_was_never_described_is_taken_up(desk: Desk) -> None:
    desk.create().ask()  # killed before anything else
    study = desk.search(exhaustive=False, n_trials=2)
    assert desk.states() == {"COMPLETE": 2}
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
