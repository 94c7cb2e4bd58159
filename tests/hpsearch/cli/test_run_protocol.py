"""Protocol, window and findings on the command line, and the warning that a leak leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.cli.run import default_name
from hpsearch.cli.run_options import settings_of
from hpsearch.datasets.manifest import load_manifest

Command = Callable[..., Any]
NAMES = ("normal/train", "normal/val", "normal/test", "anomaly/test")
QUICK = ["--axis", "kind=knn", "--axis", "layer=colour"]


@pytest.fixture
def leaky(tiny: Path, tmp_path: Path) -> Path:
    """Fold files of the tiny set whose scored normals are those of its training."""
    table = load_manifest(tiny).table
    training = table["split"] == "train"
    normals = table["image_id"][training & (table["label"] == 0)].to_numpy()
    anomalies = table["image_id"][training & (table["anomaly_type"] == "blobs")].to_numpy()
    for fold in range(3):
        mixed = np.random.default_rng(fold).permutation(normals)
        lists = (mixed[:30], mixed[30:], normals, anomalies[2 * fold : 2 * fold + 2])
        for name, of_file in zip(NAMES, lists, strict=True):
            file = tmp_path / "folds" / str(fold) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(of_file))
    return tmp_path / "folds"


def test_a_leak_is_refused_and_nothing_is_left(
    hpsearch: Command, tiny_yaml: Path, leaky: Path, runs: Path
) -> None:
    ended = hpsearch("run", "--study", tiny_yaml, "--protocol", "official", "--folds", leaky)
    assert ended.code == 2
    assert ended.err.startswith("hpsearch: ")
    assert ended.err.count("\n") == 1
    for words in ("fold 0: 36 of 36 scored normals", "--protocol clean", "--allow-leak"):
        assert words in ended.err
    assert not runs.exists()


def test_an_allowed_leak_comes_first_wherever_the_result_is_shown(
    hpsearch: Command, tiny_yaml: Path, leaky: Path
) -> None:
    official = ["--protocol", "official", "--folds", leaky, "--allow-leak"]
    ran = hpsearch("run", "--study", tiny_yaml, *QUICK, *official)
    assert (ran.code, ran.err) == (0, "")
    best = hpsearch("best")
    told = "warning: fold 0: 36 of 36 scored normals were used before (30 trained on, 6 held out"
    before, _, _ = ran.out.partition("best 1 of 1 configurations")
    assert before.count(told) == 2, "at the start and at the end"
    assert best.out.startswith(told)
    assert "6 labelled anomalies" in ran.out
    assert "--n-examples" not in ran.out, "it would draw nothing"
    found = json.loads(hpsearch("best", "--json").out)
    assert next(iter(found)) == "warnings"
    assert len(found["warnings"]) == 6, "images and groups, in three folds"
    summary = json.loads(
        hpsearch("run", "--study", tiny_yaml, *QUICK, *official, "--json").out.splitlines()[-1]
    )
    assert summary == found


def test_a_clean_study_has_no_warning(hpsearch: Command, tiny_yaml: Path) -> None:
    ended = hpsearch("run", "--study", tiny_yaml, *QUICK)
    assert ended.code == 0
    assert "warning" not in ended.out
    assert json.loads(hpsearch("best", "--json").out)["warnings"] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--protocol", "official"], "--folds"),
        (["--folds", "FOLDS"], "--protocol official"),
        (["--allow-leak"], "protocol official"),
        (["--protocol", "lenient"], "search.protocol"),
        (["--protocol", "official", "--folds", "nowhere"], "the folder that holds the folds"),
        (["--protocol", "official", "--folds", "FOLDS", "--n-examples", "4"], "--n-examples: "),
        (["--protocol", "official", "--folds", "FOLDS", "--anomalies", "shared"], "--anomalies: "),
        (["--window", "4095,0"], "--window '4095,0'"),
        (["--window", "bright"], "a window is two numbers"),
        (["--multi-label", "second"], "dataset.multi_label"),
        (["--multi-label", "first"], "multi_label does not fit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    options: list[str], says: str, hpsearch: Command, tiny_yaml: Path, leaky: Path, runs: Path
) -> None:
    options = [str(leaky) if option == "FOLDS" else option for option in options]
    ended = hpsearch("run", "--study", tiny_yaml, *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("hpsearch: ")
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not runs.exists()


def test_the_protocols_of_one_dataset_have_run_directories_of_their_own() -> None:
    name = "camelyon16", None, "features"
    assert default_name(None, *name, "official") == "camelyon16-features-official"
    assert default_name(None, *name, "clean") == default_name(None, *name)


def test_options_become_settings() -> None:
    options = {
        "window": "-1024,3071",
        "multi_label": "first",
        "protocol": "official",
        "folds": Path("/some/folds"),
        "allow_leak": True,
    }
    assert settings_of(options) == {
        "dataset": {"window": (-1024.0, 3071.0), "multi_label": "first"},
        "search": {"protocol": "official", "folds": "/some/folds", "allow_leak": True},
    }
    assert settings_of({"window": " DICOM "}) == {"dataset": {"window": "dicom"}}
    assert settings_of(dict.fromkeys(options)) == {}
