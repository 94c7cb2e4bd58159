import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpsearch.model.bundle import (
    BackboneFacts,
    ModelFacts,
    Provenance,
    attach_calibration,
    calibrated,
    preprocessing_facts,
    write_bundle,
)
from hpsearch.storage.results import read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.result import read_final

Command = Callable[..., Any]


@pytest.fixture
def scores() -> list[float]:
    return list(np.linspace(0, 1, 40))


@pytest.fixture(params=["dpa", "features"])
def study(request: pytest.FixtureRequest, hpsearch: Command, tiny_yaml: Path, runs: Path) -> Path:
    """A study that has been run, with a bundle for its final model."""
    ended = hpsearch("run", "--study", tiny_yaml, "--detector", request.param, "--n-trials", 1)
    assert ended.code == 0, ended.err
    best = json.loads(hpsearch("best", "--json").out)
    folder = RunDir(Path(best["run_dir"]))
    result = read_final(folder, best["trial"])
    assert result is not None
    task = json.loads((folder.tasks / result.tasks[0] / "task.json").read_text())
    facts = ModelFacts(
        detector=task["detector"],
        params=task["params"],
        seed=task["seed"],
        preprocessing=preprocessing_facts(task["params"], channels=3),
        backbone=BackboneFacts(name="vgg-mini", digest=task["backbone_digest"]),
        provenance=Provenance(study=folder.path.name, trial=result.trial),
    )
    model = folder.final / str(result.trial) / "model"
    shutil.rmtree(model)
    write_bundle(model, saved=folder.tasks / result.tasks[0] / "model", facts=facts)
    return folder.path


def _task_scores(study: Path) -> pd.DataFrame:
    """Those that the study stored of its final model."""
    folder = RunDir(study)
    (final,) = (int(path.name) for path in folder.final.iterdir())
    result = read_final(folder, final)
    assert result is not None
    stored = read_result(folder.tasks, result.tasks[0])
    assert stored is not None
    return stored.scores


def test_the_scores_of_a_study_again(
    study: Path, hpsearch: Command, tiny: Path, tmp_path: Path
) -> None:
    (final,) = (study / "final").iterdir()
    stored = _task_scores(study).set_index("image_id")["score"]
    assert len(stored) == 34  # labelled anomalies and test images
    for number, model in enumerate((study.name, study, final / "model")):
        out = tmp_path / f"scores-{number}.csv"
        ended = hpsearch("predict", model, tiny, "--out", out)
        assert (ended.code, ended.err) == (0, "")
        assert "70 images scored" in ended.out
        assert "images a second" in ended.out
        found = pd.read_csv(out).set_index("image_id")["score"]
        np.testing.assert_allclose(found.loc[stored.index], stored, rtol=1e-5)


@pytest.mark.parametrize("study", ["dpa"], indirect=True)
def test_maps_flags_and_json(
    study: Path, hpsearch: Command, tiny: Path, tmp_path: Path, scores: list[float]
) -> None:
    (final,) = (study / "final").iterdir()
    attach_calibration(final / "model", calibrated(scores, rate=0.1))
    out, maps = tmp_path / "scores.csv", tmp_path / "maps"
    images = [tiny.parent / f"test-stripes-{number}.png" for number in range(3)]
    (tmp_path / "broken.png").write_bytes(b"")
    ended = hpsearch(
        "predict", study, *images, tmp_path / "broken.png", "--out", out, "--maps", maps, "--json"
    )
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out.splitlines()[-1])
    assert (told["n_scored"], told["n_unreadable"]) == (3, 1)
    assert Path(told["unreadable"]) == tmp_path / "scores.unreadable.csv"
    assert told["n_anomalies"] == pd.read_csv(out)["is_anomaly"].sum()
    assert len(list(maps.iterdir())) == 6
    ended = hpsearch("predict", study, tmp_path / "broken.png", images[0], "--out", out)
    assert "are called anomalous" in ended.out
    assert f"1 cannot be read and are skipped, listed in {told['unreadable']}" in ended.out


@pytest.mark.parametrize("study", ["features"], indirect=True)
def test_mistakes_are_one_line_and_leave_nothing(
    study: Path, hpsearch: Command, tiny: Path, tmp_path: Path
) -> None:
    (final,) = (study / "final").iterdir()
    out = tmp_path / "out" / "scores.csv"
    for arguments in (
        (study, tiny, "--out", tmp_path / "out" / "scores.txt"),
        (study, tmp_path / "nothing", "--out", out),
        ("no-such-study", tiny, "--out", out),
        (study, tiny, "--out", out, "--maps", tmp_path / "out"),
        (study, tiny, "--out", out, "--device", "tpu"),
        (study, tiny, "--out", out, "--backbone-weights", tiny),
    ):
        ended = hpsearch("predict", *arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1), arguments
        assert ended.err.startswith("hpsearch: ")
    (final / "model" / "model.safetensors").write_bytes(b"")
    ended = hpsearch("predict", study, tiny, "--out", out)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    shutil.rmtree(final / "model")
    ended = hpsearch("predict", study, tiny, "--out", out)
    assert ended.code == 2
    assert "run the same `hpsearch run` again" in ended.err
    assert not out.parent.exists()
