"""The channel statistics of a study, checked before anything is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.errors import SpecError, WeightsError
from hpsearch.search.task import TaskContext, run_task
from hpsearch.study.inputs import StudyInputs, load_inputs
from tests.hpsearch.notes import Notes

Prepare = Callable[..., StudyInputs]
Context = Callable[[StudyInputs], TaskContext]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def bare_weights(tmp_path: Path) -> Path:
    """Those of vgg-mini in a file without statistics."""
    path = tmp_path / "bare.safetensors"
    save_file(dict(load_backbone("vgg-mini").weights), path)
    return path


def _notes(spec: Any, cache: Path) -> list[str]:
    listener = Notes()
    load_inputs(spec, cache_dir=cache, workers=1, listener=listener)
    return [line for line in listener.lines if line.startswith("channel statistics")]


def test_a_study_says_which_images_its_statistics_are_of(tiny_spec: Any, cache: Path) -> None:
    assert _notes(tiny_spec(detector="dpa"), cache) == [
        "channel statistics: natural images, stored in vgg-mini.safetensors"
    ]
    assert not _notes(tiny_spec(), cache), "pooled features are not normalised by them"


def test_weights_without_statistics_are_refused_unless_told_what_to_take(
    tiny_spec: Any, prepare: Prepare, bare_weights: Path, photographs: Path, cache: Path
) -> None:
    bare = {"name": "vgg-mini", "weights": bare_weights}
    with pytest.raises(WeightsError, match=r"bare\.safetensors: hold no channel stat") as caught:
        prepare(tiny_spec(detector="dpa", backbone=bare))
    assert "--backbone-statistics" in str(caught.value)
    assert "--axis statistics=own" in str(caught.value)
    prepare(tiny_spec(backbone=bare))  # of the detector features
    own = {"dpa": {"latent_dim": [2], "layers": ["r12"], "statistics": ["own"]}}
    prepare(tiny_spec(detector="dpa", backbone=bare, space=own))
    named = bare | {"statistics": photographs}
    (note,) = _notes(tiny_spec(detector="dpa", backbone=named), cache)
    assert "3 images of photographs" in note


def test_tasks_differ_by_their_statistics_and_read_those_of_the_folder(
    tiny_spec: Any, prepare: Prepare, context: Context, photographs: Path, tmp_path: Path
) -> None:
    both = {"dpa": {"latent_dim": [2], "layers": ["r12"], "statistics": ["natural", "own"]}}
    usual = prepare(tiny_spec(detector="dpa", space=both))
    named = prepare(
        tiny_spec(
            detector="dpa",
            space=both,
            backbone={"name": "vgg-mini", "statistics": photographs},
        )
    )
    natural, own = usual.space.grid[0], usual.space.grid[-1]
    assert (natural["statistics"], own["statistics"]) == ("natural", "own")
    assert usual.task(natural, 0).digest != named.task(natural, 0).digest
    own = {**natural, "statistics": "own"}
    assert usual.task(own, 0).digest == named.task(own, 0).digest

    def scores(prepared: StudyInputs, params: Any, folder: str) -> np.ndarray:
        place = context(prepared)
        where = {"backbone_statistics": prepared.statistics_file, "tasks": tmp_path / folder}
        place = TaskContext(**{**vars(place), **where})
        found = run_task(prepared.task(params, 0), place).scores["score"]
        return found.to_numpy()

    assert not np.allclose(scores(usual, natural, "a"), scores(named, natural, "b"), rtol=1e-3)
    assert not np.allclose(scores(usual, natural, "a"), scores(usual, own, "c"), rtol=1e-3)


def test_a_folder_that_nobody_would_read_is_refused(
    tiny_spec: Any, prepare: Prepare, photographs: Path
) -> None:
    backbone = {"name": "vgg-mini", "statistics": photographs}
    with pytest.raises(SpecError, match=r"backbone\.statistics: is read by detectors with"):
        prepare(tiny_spec(backbone=backbone))
