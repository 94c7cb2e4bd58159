import io
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

import hpsearch.paper.published
from hpsearch.errors import DataError
from hpsearch.paper.contents import CLASSES_OF
from hpsearch.paper.published import find_published, published_configurations


def _text() -> str:
    return (files("studies") / "published.csv").read_text(encoding="utf-8")


def test_the_file_says_where_it_is_from_and_holds_every_method() -> None:
    comments, rows = [], []
    for line in _text().splitlines():
        (comments if line.startswith("#") else rows).append(line)
    said = " ".join(comments)
    assert "ninatu/anomaly_detection" in said and "Apache-2.0" in said
    methods = Counter(row.split(",")[0] for row in rows[1:])
    assert methods == {"deep_geo": 48, "deep_if": 48, "dpa": 60, "piad": 48}


def test_a_growing_network_is_read_whole() -> None:
    found = find_published("nih-ap", "", growing=True)
    assert found is not None
    assert (found.latent_dim, found.latent_res, found.resolution) == (64, 1, 64)
    assert found.layers == "8:r12 16:r22 32:r32 64:r32"
    assert found.loss == "perceptual"
    assert found.widths == (32, 32, 64, 64, 64)
    assert (found.learning_rate, found.batch_size) == (5e-4, 56)
    assert (found.start_resolution, found.steps_per_phase, found.steps) == (8, 20_000, 7_000)
    assert found.preprocessing == {"central_crop": 224 / 300, "equalize": True}
    assert found.n_runs == 3


def test_weighted_losses_and_sides_are_read() -> None:
    found = {(row.dataset, row.row): row for row in published_configurations()}
    mixed = found["nih-subset", "wo_pg_with_L1/weight_0.100"]
    assert (mixed.layers, mixed.loss) == ("r32+r42", "perceptual+0.1*l1")
    critic = found["camelyon16", "wo_pg_with_adversarial_L1/weight_1.000"]
    assert (critic.layers, critic.loss) == ("r42", "perceptual+l1+adversarial")
    assert (critic.resolution, critic.batch_size) == (64, 32)
    pixels = found["camelyon16", "wo_pg_L1_unsupervised"]
    assert (pixels.loss, pixels.resolution) == ("l1", 64)


def test_every_figure_of_the_tables_has_its_configuration() -> None:
    """Tables 1 and 5: each class; Table 2: each of four sets, with growing and without."""
    for dataset in ("cifar10", "svhn"):
        for name in CLASSES_OF[dataset]:
            assert find_published(dataset, name, growing=False) is not None
            assert find_published(dataset, name, growing=True) is None
    for dataset in ("camelyon16", "nih-subset", "nih-pa", "nih-ap"):
        assert find_published(dataset, "", growing=False) is not None
        assert find_published(dataset, "", growing=True) is not None


@pytest.mark.parametrize(
    "change",
    [("steps 5666", "epochs 3"), ("32x1,", "32,"), ("method,dataset", "method,data")],
)
def test_a_changed_file_is_one_line(
    change: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = _text().replace(*change)
    assert changed != _text()

    class Folder:
        def __truediv__(self, name: str) -> Any:
            return self

        def open(self, **_: Any) -> io.StringIO:
            return io.StringIO(changed)

    monkeypatch.setattr(hpsearch.paper.published, "files", lambda _: Folder())
    with pytest.raises(DataError, match=r"^published\.csv: cannot be read .* install it again$"):
        published_configurations.__wrapped__()
