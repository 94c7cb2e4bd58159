import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hpsearch.datasets.prepare.settings import TilingSettings, check_same, write_settings
from hpsearch.errors import DataError, SpecError


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    check_same(tmp_path / "new", TilingSettings())
    check_same(tmp_path, TilingSettings())
    write_settings(tmp_path, TilingSettings())
    (tmp_path / "slides").mkdir()
    check_same(tmp_path, TilingSettings())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"stain": "none"}, "stain vahadane, not none"),
        ({"tile_size": 384}, "tile size 768, not 384"),
        ({"tiles_per_slide": 9}, "tiles per slide 50, not 9"),
        ({"magnification": 20}, "magnification 40, not 20"),
        ({"target": "abc"}, "target chosen by rule, not abc"),
    ],
)
def test_others_are_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    write_settings(tmp_path, TilingSettings())
    with pytest.raises(DataError) as caught:
        check_same(tmp_path, replace(TilingSettings(), **changed))
    assert f"was begun with {says}; give the same options or another folder" in str(caught.value)


def test_tiles_of_another_rule_of_tissue_are_not_mixed_with_these(tmp_path: Path) -> None:
    kept = asdict(TilingSettings())
    del kept["magnification"]  # as it was written before there was more than one
    (tmp_path / "settings.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match="finds other tissue in the slides; give another folder"):
        check_same(tmp_path, TilingSettings())


def test_the_side_of_a_tile_is_that_of_its_magnification() -> None:
    assert [TilingSettings(magnification=m).side for m in (40, 20, 10)] == [768, 384, 192]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match="holds other files"):
        check_same(tmp_path, TilingSettings())
    with pytest.raises(DataError, match="is a file"):
        check_same(tmp_path / "thesis.tex", TilingSettings())


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0"])
def test_damaged_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(DataError, match="is damaged") as caught:
        check_same(tmp_path, TilingSettings())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "bad",
    [
        {"tile_size": 100},
        {"tile_size": 21},
        {"magnification": 30},
        {"magnification": 20, "tile_size": 24},
        {"magnification": 20, "tile_size": 99},
        {"tiles_per_slide": 0},
        {"seed": -1},
        {"stain": "none", "target": "abc"},
    ],
)
def test_values_that_break_a_rule(bad: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        TilingSettings(**bad)
    assert str(caught.value).isprintable()
