import numpy as np
import pytest
import torch

from hpsearch.datasets.prepare.stains.macenko import Macenko
from hpsearch.errors import DataError

normalizers = pytest.importorskip("torchstain.torch.normalizers.macenko")


def test_tiles_are_those_of_torchstain(mix, stains) -> None:
    target, tiles = mix(stains[0], seed=0), np.stack([mix(stain, seed=1) for stain in stains])
    reference = normalizers.TorchMacenkoNormalizer()
    reference.fit(torch.tensor(target).permute(2, 0, 1), Io=255)
    for tile, result in zip(tiles, Macenko(target, "cpu")(tiles), strict=True):
        expected, _, _ = reference.normalize(torch.tensor(tile).permute(2, 0, 1), Io=255)
        np.testing.assert_array_equal(result, expected.numpy())


@pytest.mark.parametrize("value", [(255, 255, 255), (0, 0, 0), (20, 90, 40), (243, 243, 243)])
def test_tiles_of_one_colour_are_left_as_they_are(mix, stains, value: tuple[int, ...]) -> None:
    tile = np.broadcast_to(np.array(value, np.uint8), (1, 64, 64, 3)).copy()
    np.testing.assert_array_equal(Macenko(mix(stains[0], seed=0), "cpu")(tile), tile)


def test_a_speck_of_tissue_is_left_as_it_is(mix, stains) -> None:
    tile = np.full((1, 128, 128, 3), 250, np.uint8)
    tile[0, :12, :12] = mix(stains[0], seed=0)[:12, :12]
    np.testing.assert_array_equal(Macenko(mix(stains[0], seed=0), "cpu")(tile), tile)


def test_a_blank_target_is_refused() -> None:
    with pytest.raises(DataError, match="stain target: shows too little tissue; choose"):
        Macenko(np.full((64, 64, 3), 240, np.uint8), "cpu")
