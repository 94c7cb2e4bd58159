from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.model.bundle import Calibration, ModelFacts
from hpsearch.model.images import PreprocessingFacts, Seen
from hpsearch.model.model import AnyModel, Model
from hpsearch.model.predict.heat import HeatMaps, coloured, overlay, safe_name
from hpsearch.model.predict.inputs import ImageBlock, Input, decode, find_images
from hpsearch.model.predict.predict import predict


@dataclass(frozen=True)
class Brightness(AnyModel):
    """A model whose map is the brightness of each pixel."""

    facts: ModelFacts

    @property
    def preprocessings(self) -> tuple[PreprocessingFacts, ...]:
        return (self.facts.preprocessing,)

    def maps_seen(self, seen: Seen) -> np.ndarray:
        return seen[0].mean(axis=3).astype(np.float32)

    def score_seen(self, seen: Seen) -> np.ndarray:
        return seen[0].mean(axis=(1, 2, 3))


@pytest.fixture
def facts(model: Model) -> ModelFacts:
    return model.facts.model_copy(update={"calibration": None})


@pytest.fixture
def left_white(tmp_path: Path) -> Path:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 200
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "../images/left white.png"
    Image.fromarray(pixels).save(path)
    return path


def _write(model: object, path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    block = ImageBlock(0, (Input("some/left white", path),), (model.facts.preprocessing,))  # type: ignore
    HeatMaps(model, folder).write({"some/left white": 3}, decode(block))  # type: ignore
    names = [f"000003-some_left_white-{kind}.png" for kind in ("heat", "overlay")]
    assert sorted(path.name for path in folder.iterdir()) == names
    heat, over = (np.asarray(Image.open(folder / name)) for name in names)
    return heat, over


def test_heat_and_overlay_are_where_the_map_is(
    facts: ModelFacts, left_white: Path, tmp_path: Path
) -> None:
    heat, over = _write(Brightness(facts), left_white, tmp_path / "maps")
    assert heat.shape == over.shape == (256, 256, 3)
    hot, cold = coloured(np.array([[1.0, 0.0]]))[0]
    assert (heat[:, :128] == hot).all()
    assert (heat[:, 128:] == cold).all()
    assert (over[:, :128] == hot).all()  # wholly covered
    assert (over[:, 128:] == 0).all()  # the image as it is


def test_the_threshold_sets_the_scale(facts: ModelFacts, left_white: Path, tmp_path: Path) -> None:
    calibration = Calibration(rate=0.5, threshold=200.0, bound=1.0, n=1, scores=(200.0,))
    known = facts.model_copy(update={"calibration": calibration})
    heat, _ = _write(Brightness(known), left_white, tmp_path / "maps")
    assert (heat[:, :128] == coloured(np.array([[0.5]]))[0, 0]).all()


def test_lighter_is_hotter() -> None:
    luminance = coloured(np.linspace(0, 1, 200)[None])[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > -1).all()
    assert luminance[-1] - luminance[0] > 200


def test_no_heat_leaves_the_image() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (4, 4, 1), dtype=np.uint8)
    assert np.array_equal(overlay(grey, np.zeros((4, 4))), grey.repeat(3, axis=2))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "x" * 300, "é/ü.png", "C:\\con.png"])
def test_names_are_safe(name: str) -> None:
    safe = safe_name(name)
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert 0 < len(safe) <= 80


def test_pictures_of_a_whole_folder(
    facts: ModelFacts, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images = find_images([make_images(tmp_path / "images", 5, (2,))]).images
    bright = Brightness(facts)
    predict(bright, images, tmp_path / "a.csv", maps=tmp_path / "maps", batch_size=3)  # type: ignore
    numbers = sorted(path.name[:6] for path in (tmp_path / "maps").glob("*-heat.png"))
    assert numbers == ["000000", "000001", "000003", "000004"]
