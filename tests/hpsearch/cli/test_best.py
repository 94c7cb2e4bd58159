import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from hpsearch.storage.database import create_or_load_study
from hpsearch.storage.results import RECIPE
from hpsearch.storage.run_dir import DATABASE, RunDir

Command = Callable[..., Any]


@pytest.fixture
def done(hpsearch: Command, tiny_yaml: Path, runs: Path) -> Path:
    assert hpsearch("run", "--study", tiny_yaml).code == 0
    return runs / "tiny"


@pytest.mark.parametrize("how", ["latest", "name", "directory"])
def test_one_object_with_what_machines_ask_for(hpsearch: Command, done: Path, how: str) -> None:
    run = {"latest": [], "name": ["tiny"], "directory": [done]}[how]
    ended = hpsearch("best", *run, "--json")
    assert (ended.code, ended.err) == (0, "")
    best = json.loads(ended.out)
    assert best["study"] == "tiny"
    assert Path(best["run_dir"]) == done
    assert best["n_trials"] == 4
    assert set(best["params"]) >= {"kind", "layer", "resolution"}
    assert 0 <= best["value"] <= 1
    # All anomalies score above all normals, from which no interval can be had.
    assert (best["test_auroc"], best["test_auroc_ci"]) == (1.0, None)
    assert Path(best["model"]).is_dir()
    folds = best["fold_aurocs"]
    assert best["value"] == pytest.approx(sum(folds) / len(folds), abs=1e-12)
    assert (best["criterion"], best["criteria"]["weak"]) == ("weak", best["value"])
    assert [choice["criterion"] for choice in best["choices"]] == [*best["criteria"]]
    weak = best["choices"][0]
    assert (weak["trial"], weak["value"]) == (best["trial"], best["value"])
    assert 0 <= weak["test"]["auroc"] <= 1
    assert weak["regret"] >= 0


def test_words_for_people(hpsearch: Command, done: Path) -> None:
    ended = hpsearch("best")
    assert ended.code == 0
    assert "95 % interval" in ended.out
    assert "types never seen" in ended.out


@pytest.mark.parametrize("run", [[], ["nonsense"]])
def test_no_such_study(hpsearch: Command, run: list[str]) -> None:
    ended = hpsearch("best", *run)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert not ended.out


def test_a_winner_that_is_not_trained_yet(hpsearch: Command, runs: Path, tiny_spec: Any) -> None:
    folder = RunDir(runs / "tiny")
    facts = {"recipe": RECIPE, "data_fingerprint": "f", "backbone_digest": "b"}
    folder.begin(tiny_spec(), pd.DataFrame({"image_id": []}), facts)
    study = create_or_load_study(folder.path, "tiny", pruner=optuna.pruners.NopPruner())
    ended = hpsearch("best")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert "no trial was completed" in ended.err
    trial = study.ask()
    trial.set_user_attr("tasks", [])
    trial.set_user_attr("weak", 0.5)
    study.tell(trial, 0.5)
    ended = hpsearch("best")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "run the same `hpsearch run` again" in ended.err


def test_a_lost_database_is_not_replaced_by_an_empty_one(hpsearch: Command, done: Path) -> None:
    (done / DATABASE).write_bytes(b"")
    for command in ("best", "status"):
        ended = hpsearch(command, "tiny")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "is empty, a study was lost here; `hpsearch recover" in ended.err
    assert (done / DATABASE).read_bytes() == b""
