"""Tiles a second of stain normalisation."""

import platform
import statistics
import time

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hpsearch.datasets.histology.style import draw_stain, transmit
from hpsearch.datasets.prepare.stains.normaliser import StainName, normaliser

N_TILES = {256: 64, 768: 16}
ROUNDS = 5


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("side", N_TILES)
@pytest.mark.parametrize("name", ["vahadane", "macenko"])
def test_tiles_a_second(name: StainName, side: int, device: str) -> None:
    if name == "macenko":
        pytest.importorskip("torchstain")
    tiles = make_tiles(side)
    normalise = normaliser(name, tiles[0], device=device)
    normalise(tiles)  # warms up
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        result = normalise(tiles)  # comes back to the CPU, and so has been waited for
        seconds.append(time.perf_counter() - started)
    assert result.shape == tiles.shape
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}"
    print(
        f"\n{name}, {side} px, {where}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}: {len(tiles) / statistics.median(seconds):.1f} tiles/s "
        f"(median of {ROUNDS} rounds of {len(tiles)} tiles)"
    )


def make_tiles(side: int) -> np.ndarray:
    """Tissue of two stains, each tile with its own, uint8 `(N, side, side, 3)`."""
    rng = np.random.default_rng(0)
    tiles = []
    for _ in range(N_TILES[side]):
        fields = [gaussian_filter(rng.standard_normal((side, side)), 3) for _ in range(2)]
        amounts = [np.clip(field / field.std(), 0, 2) * 0.6 for field in fields]
        tiles.append(transmit(draw_stain(rng), *amounts).clip(0, 255).astype(np.uint8))
    return np.stack(tiles)
