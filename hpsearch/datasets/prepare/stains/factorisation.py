"""Sparse non-negative factorisation of optical densities into two stains (Vahadane et al. 2016).

The densities V `(N, 3, P)` of N tiles are explained as W H: W `(N, 3, 2)` holds a stain's colour in
each column, of length 1, and H `(N, 2, P)` how much of either stain there is in each pixel:

    minimise over W, H >= 0    1/2 |V - W H|² + sparsity * |H|₁

Sparsity says that most pixels are bound to one stain, and makes the factorisation unique.
"""

import torch
from torch import Tensor

ITERATIONS = 25  # 200 move the stains of the tests' mixtures by less than 1e-5
TINY = 1e-9

# Haematoxylin and eosin (Ruifrok & Johnston 2001): a start near the answer.
_START = ((0.65, 0.07), (0.70, 0.99), (0.29, 0.11))


def learn_stains(densities: Tensor, *, sparsity: float) -> Tensor:
    """W of each tile: haematoxylin, then eosin.

    Haematoxylin is the column with the larger red density: it is blue, it absorbs red light.
    Pixels without tissue are given as zeros, which no stain explains, and have no weight.

    Args:
        densities: V, `(N, 3, P)`, float64: thus a tile's W does not depend on its batch.
        sparsity: the penalty on concentrations, in units of optical density.
    """
    start = torch.nn.functional.normalize(densities.new_tensor(_START), dim=0)
    stains = start.repeat(len(densities), 1, 1)
    for _ in range(ITERATIONS):
        amounts = concentrations(densities, stains, sparsity=sparsity)
        stains = _improved(stains, densities, amounts)
    order = stains[:, 0].argsort(dim=1, descending=True)
    return stains.gather(2, order.unsqueeze(1).expand_as(stains))


def concentrations(densities: Tensor, stains: Tensor, *, sparsity: float) -> Tensor:
    """H for given stains, exactly.

    The least of a convex quadratic over the quarter-plane lies inside it where the least over the
    plane does, and otherwise on one of the two axes, where the stain with the larger projection
    explains more. The axes' ends, no stain at all, are the fourth case.
    """
    first, second = (stains.transpose(1, 2) @ densities - sparsity).unbind(dim=1)
    overlap = (stains[:, :, 0] * stains[:, :, 1]).sum(dim=1, keepdim=True)
    both_first, both_second = first - overlap * second, second - overlap * first
    inside = (both_first > 0) & (both_second > 0)
    scale = 1 / (1 - overlap.square()).clamp_min(TINY)
    leads = first >= second
    return torch.stack(
        [
            torch.where(inside, both_first * scale, first.clamp_min(0) * leads),
            torch.where(inside, both_second * scale, second.clamp_min(0) * ~leads),
        ],
        dim=1,
    )


def _improved(stains: Tensor, densities: Tensor, amounts: Tensor) -> Tensor:
    """W after one round of block coordinate descent (Mairal et al. 2010, algorithm 2)."""
    gram = amounts @ amounts.transpose(1, 2)  # (N, 2, 2)
    explained = densities @ amounts.transpose(1, 2)  # (N, 3, 2)
    columns = list(stains.unbind(dim=2))
    for j in range(2):
        current = torch.stack(columns, dim=2)
        rest = explained[:, :, j] - (current @ gram[:, :, j : j + 1]).squeeze(2)
        moved = (columns[j] + rest / gram[:, j, j, None].clamp_min(TINY)).clamp_min(0)
        length = moved.norm(dim=1, keepdim=True)
        columns[j] = torch.where(length > TINY, moved / length.clamp_min(TINY), columns[j])
    return torch.stack(columns, dim=2)
