import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def run(hpsearch: Command, tiny_yaml: Path) -> Path:
    """A study that has been run to its final model."""
    ended = hpsearch("run", "--study", tiny_yaml, "--detector", "features", "--n-trials", 1)
    assert ended.code == 0, ended.err
    return Path(json.loads(hpsearch("best", "--json").out)["run_dir"])


def test_exports_the_final_model_of_a_study(run: Path, hpsearch: Command, tiny: Path) -> None:
    ended = hpsearch("export", run.name, tiny, "--format", "torch")
    assert (ended.code, ended.err) == (0, "")
    assert "checked on 10 images against predict: largest relative difference" in ended.out
    (graph,) = run.glob("final/*/model-torch/model.pt2")
    assert str(graph) in ended.out
    again = hpsearch("export", run.name, tiny, "--format", "torch")
    assert (again.code, again.err) == (0, "")
    assert f"{graph}, as an earlier run wrote it" in again.out.replace("\n", "")
    again = hpsearch("export", run.name, "--format", "torch")  # checked on other images
    assert again.code == 2
    assert "exists; remove it or give another" in again.err
    assert again.err.count("\n") == 1


def test_a_bundle_needs_no_study(run: Path, hpsearch: Command, tmp_path: Path) -> None:
    (model,) = run.glob("final/*/model")
    alone = shutil.copytree(model, tmp_path / "alone")
    out = tmp_path / "graph"
    ended = hpsearch("export", alone, "--format", "torch", "--out", out, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["folder"] == str(out)
    assert told["n_checked"] == 10
    assert told["difference"] <= 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--format", "torch"], "nothing"),
        (["nothing", "--format", "keras"], "--format 'keras': must be one of onnx, torch"),
    ],
)
def test_mistakes_are_one_line(hpsearch: Command, arguments: list[str], message: str) -> None:
    ended = hpsearch("export", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
