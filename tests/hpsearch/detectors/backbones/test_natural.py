"""Channel statistics over a folder of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hpsearch.detectors.backbones import statistics
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.backbones.statistics import compute_statistics, statistics_of_folder
from hpsearch.detectors.backbones.weight_files import read_statistics
from hpsearch.errors import DataError


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("vgg-mini")


def _pixels(side: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*side, 3), dtype=np.uint8)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three images of 32 px, one of them in a folder below."""
    folder = tmp_path / "photographs"
    (folder / "dogs").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "dogs/c.png")):
        Image.fromarray(_pixels((32, 32), number)).save(folder / name)
    return folder


def test_they_are_those_of_all_its_images_over_every_layer(
    photographs: Path, backbone: Backbone, tmp_path: Path
) -> None:
    path = statistics_of_folder(backbone, photographs, cache_dir=tmp_path / "cache")
    found, images = read_statistics(path)
    pixels = np.stack([_pixels((32, 32), number) for number in range(3)])
    expected = compute_statistics(backbone, pixels, backbone.layers)
    assert set(found) == set(backbone.architecture.layers)
    for layer, (mean, std) in expected.items():
        torch.testing.assert_close(found[layer][0], mean)
        torch.testing.assert_close(found[layer][1], std)
    assert images.startswith("3 images of photographs (sha256 ")


def test_large_images_are_cut_to_a_square_and_scaled_down(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    compute = statistics.statistics_of_batches

    def watched(backbone: Backbone, batches: object, layers: object) -> object:
        batches = list(batches)  # type: ignore[call-overload]
        shapes.extend(batch.shape for batch in batches)
        return compute(backbone, batches, layers)  # type: ignore[arg-type]

    monkeypatch.setattr(statistics, "statistics_of_batches", watched)
    folder = tmp_path / "mixed"
    folder.mkdir()
    Image.fromarray(_pixels((300, 400), 0)).save(folder / "a.png")
    Image.fromarray(_pixels((40, 60), 1)[..., 0]).save(folder / "b.png")
    statistics_of_folder(backbone, folder, cache_dir=tmp_path)
    assert shapes == [(1, 224, 224, 3), (1, 40, 40, 3)]


def test_they_are_kept_by_content(
    photographs: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def made(photographs: Path) -> Path:
        done.clear()
        return statistics_of_folder(
            backbone, photographs, cache_dir=tmp_path, progress=lambda _, n, total: done.append(n)
        )

    first = made(photographs)
    assert done == [1, 2, 3]
    moved = photographs.rename(tmp_path / "elsewhere")
    assert made(moved) == first
    assert not done
    Image.fromarray(_pixels((32, 32), 9)).save(moved / "a.png")
    assert made(moved) != first
    first.write_bytes(first.read_bytes()[:100])
    Image.fromarray(_pixels((32, 32), 0)).save(moved / "a.png")
    assert made(moved) == first
    assert done == [1, 2, 3], "the file was damaged"


def test_what_cannot_be_read_is_one_line(
    photographs: Path, backbone: Backbone, tmp_path: Path
) -> None:
    def refused(says: str) -> None:
        with pytest.raises(DataError, match=says) as caught:
            statistics_of_folder(backbone, photographs, cache_dir=tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache").glob("*.safetensors"))

    (photographs / "a.png").write_bytes(b"no image")
    refused(r"a\.png")
    Image.fromarray(_pixels((20, 90), 0)).save(photographs / "a.png")
    refused(r"a\.png: natural images must have 32 px a side or more, got 90x20; remove it")
    for path in (photographs / "a.png", photographs / "b.png", photographs / "dogs" / "c.png"):
        path.unlink()
    refused("photographs: holds no image; name a folder of natural images")
