import pickle
import sys

import numpy as np
import pytest

from hpsearch.datasets.prepare.stains.normaliser import STAINS, normaliser, parse_stain
from hpsearch.errors import SpecError

TILES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def test_stains_by_name() -> None:
    assert parse_stain("macenko") == "macenko"
    with pytest.raises(SpecError, match="stain 'reinhard': unknown; give vahadane, macenko, none"):
        parse_stain("reinhard")


def test_none_changes_nothing_and_needs_no_target() -> None:
    np.testing.assert_array_equal(normaliser("none", None)(TILES), TILES)


@pytest.mark.parametrize("name", STAINS)
def test_goes_to_another_process(mix, stains, name: str) -> None:
    if name == "macenko":
        pytest.importorskip("torchstain")
    normalise = normaliser(name, mix(stains[0], seed=0))
    tiles = mix(stains[1], seed=1)[None]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(normalise))(tiles), normalise(tiles))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vahadane", "stains vahadane: needs a target tile; "),
        ("macenko", "stains macenko: needs a target tile; "),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        normaliser(name, None)
    assert str(caught.value).startswith(message)


def test_macenko_without_torchstain_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchstain.torch.normalizers.macenko", None)
    with pytest.raises(SpecError, match=r"pip install 'hpsearch\[wsi\]', or take vahadane"):
        normaliser("macenko", TILES[0])
