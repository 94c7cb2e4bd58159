from pathlib import Path
from typing import Any

import pytest

from hpsearch.config.spec import build_spec
from hpsearch.datasets.torchvision_sets import CIFAR10
from hpsearch.errors import StudyError
from hpsearch.paper.contents import TableStudy
from hpsearch.paper.plan import count_images, plan_studies

STUDY = {
    "study_name": "s",
    "dataset": {"name": "camelyon16"},  # of which no number is known
    "space": {
        "dpa": {"latent_dim": [2, 4], "latent_res": [1], "layers": ["r32", "r42"]},
        "preprocessing": {"resolution": [32, 64]},
    },
    "training": {"max_steps": 100, "batch_size": 64},
    "final": {"n_runs": 3},
}


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """Plans one study, the settings of which may be changed."""

    def make(**options: Any) -> Any:
        study = TableStudy(build_spec(STUDY, options), ("weak", "unsupervised"), "title")
        folders = {"runs": tmp_path / "runs", "cache_dir": tmp_path / "cache"}
        (planned,) = plan_studies([study], **folders, at_once=2)
        return planned

    return make


def test_the_rule_counts_images_and_pixels(plan: Any) -> None:
    planned = plan()
    assert (planned.configurations, planned.folds, planned.max_steps) == (8, 3, 100)
    assert (planned.to_search, planned.to_finish, planned.on_disk) == (24, 6, 0)
    pixels = (1 + 4) / 2  # of 32 px and 64 px, in 32 px squared
    assert planned.seconds == pytest.approx(30 * 100 * 2.3 * (64 / 128) * pixels)
    assert planned.images is None


def test_scoring_is_in_it_where_the_number_of_images_is_known(plan: Any) -> None:
    without = plan()
    known = plan(dataset={"name": "cifar10"})
    assert known.images == CIFAR10.n_images
    scoring = 30 * 2.3 * (CIFAR10.n_images / 128) * 2 / 3 * 2.5
    assert known.seconds == pytest.approx(without.seconds + scoring)


def test_a_budget_of_trials_is_planned(plan: Any) -> None:
    planned = plan(search={"n_trials": 5})
    assert (planned.configurations, planned.to_search) == (5, 15)


def test_a_damaged_training_is_one_line(plan: Any, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "s" / "tasks" / "0123"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{")
    (folder / "task.json").write_text("{}")
    with pytest.raises(StudyError, match=r"0123: damaged .* run again$"):
        plan()


def test_images_are_counted_without_download_or_generation(tmp_path: Path, tiny: Path) -> None:
    def count(**dataset: Any) -> int | None:
        spec = build_spec({"study_name": "s", "dataset": dataset}, {})
        return count_images(spec.dataset, tmp_path / "cache")

    assert count(name=str(tiny)) == 70
    assert count(name="digits") == 1797
    assert count(name="svhn") == 99289
    assert count(name="camelyon16", root=tmp_path) is None
    assert count(name="nih-pa", root=tmp_path) is None
    assert not (tmp_path / "cache").exists()
