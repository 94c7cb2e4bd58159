import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.detectors.base import BUILT_IN, ImageView, detector_names, faults_of, load_detector
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.detectors.pooled_features import FeaturesDetector
from hpsearch.errors import SpecError


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_name_of_ours_has_a_class_with_axes(name: str) -> None:
    assert load_detector(name).axes


def test_our_own_are_found_by_name() -> None:
    assert load_detector("dpa") is PerceptualAutoencoder
    assert load_detector("features") is FeaturesDetector


def test_a_plug_in_is_found_by_its_entry_point(plugin: Path) -> None:
    assert set(detector_names()) == {*BUILT_IN, "fragile"}
    assert load_detector("fragile").axes == {"mode": ("calm",)}


def test_a_plug_in_cannot_take_a_name_of_ours(plugin: Path) -> None:
    (registered,) = plugin.glob("*/entry_points.txt")
    registered.write_text("[hpsearch.detectors]\ndpa = fragile:Fragile\n")
    assert set(detector_names()) == set(BUILT_IN)
    with pytest.raises(SpecError, match=r"^detector 'dpa': fragile:Fragile has taken the name"):
        load_detector("dpa")
    assert load_detector("features") is FeaturesDetector


@pytest.mark.parametrize("name", ["dpaa", "", "hpsearch.detectors.dpa:DPADetector"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    known = ", ".join((*sorted(BUILT_IN), "anomalib:MODEL", "pyod:CLASS"))
    with pytest.raises(SpecError, match=rf"^detector .*choose {known}$"):
        load_detector(name)


def test_what_a_plug_in_raises_is_blamed_on_it_in_one_line(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = r"^detector d: its check raised ValueError: a\\nb; mend"
    with pytest.raises(SpecError, match=says), faults_of("d", "check"):
        raise ValueError("a\nb")
    with pytest.raises(SpecError, match=r"^space: no$"), faults_of("d", "check"):
        raise SpecError("space: no")
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    (plugin / "fragile.py").write_text("import nowhere")
    with pytest.raises(SpecError, match=r"^detector fragile: its module raised ModuleNotFound"):
        load_detector("fragile")


def test_a_view_reads_its_rows_in_its_order() -> None:
    pixels: Any = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    view = ImageView(pixels, np.array([3, 0]), "key")
    assert len(view) == 2
    assert np.array_equal(view.array(), np.stack([pixels[3], pixels[0]]))
