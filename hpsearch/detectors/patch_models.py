"""How far the vector of a position is from those of normal images, as torch networks.

A memory of normal vectors (PatchCore, Roth et al. 2022, arXiv 2106.08265), one Gaussian for each
position (PaDiM, Defard et al. 2020, arXiv 2011.08785), or one for all of them. Normals without
spread are given one, as in `outlier_models`.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from hpsearch.detectors.outlier_models import Mahalanobis

N_NEIGHBOURS = 9  # members of the memory that the reweighting looks at, as in PatchCore's code
_PROJECTED = 64  # numbers of a vector while the coreset is chosen
_SAME = 1e-6  # of squared distances, relative to the mean: such vectors are copies
_MEMBERS_AT_A_TIME = 1024  # of the memory, against which all positions are held
_POSITIONS_AT_A_TIME = 256  # whose covariances are inverted together
_RIDGE = 0.01  # of each variance of a position, relative to their mean over all positions


class NearestPatch(nn.Module):
    """Euclidean distance to the nearest vector of a memory.

    Args:
        memory: `(M, C)`.
    """

    def __init__(self, memory: Tensor) -> None:
        super().__init__()
        centre = memory.mean(dim=0)
        centred = memory - centre  # so that little cancels in the squares
        self.register_buffer("memory", memory)
        self.register_buffer("centre", centre)
        self.register_buffer("centred", centred)
        self.register_buffer("squares", centred.square().sum(dim=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N, H, W)` of `(N, H, W, C)`."""
        distances, _ = self.nearest(vectors.flatten(0, 2))
        return distances.view(vectors.shape[:3])

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest of the memory, and which it is, `(P,)` each, of `(P, C)`."""
        memory, centred = self.get_buffer("memory"), self.get_buffer("centred")
        around_centre = vectors - self.get_buffer("centre")
        closest = torch.full_like(vectors[:, 0], torch.inf)
        member = torch.zeros_like(closest, dtype=torch.int64)
        for start in range(0, len(memory), _MEMBERS_AT_A_TIME):
            part = slice(start, start + _MEMBERS_AT_A_TIME)
            squares = self.get_buffer("squares")[part]
            # Squared distances, but for what is the same for all members.
            squares = torch.addmm(squares, around_centre, centred[part].T, alpha=-2)
            found, which = squares.min(dim=1)
            member = torch.where(found < closest, which + start, member)
            closest = torch.minimum(found, closest)
        # They tell which is nearest; the distance itself would lose digits by them.
        return torch.linalg.vector_norm(vectors - memory[member], dim=1), member


class ReweightedMaximum(nn.Module):
    """The score of an image by its most distant position, lower where the memory is sparse.

    PatchCore's equation 7: the distance times 1 - its share in the softmax of the distances to the
    member that is nearest and to the members around that.

    Args:
        patches: the memory.
    """

    def __init__(self, patches: NearestPatch) -> None:
        super().__init__()
        self.patches = patches
        memory = patches.get_buffer("centred")
        around = []
        for start in range(0, len(memory), _MEMBERS_AT_A_TIME):
            distances = torch.cdist(memory[start : start + _MEMBERS_AT_A_TIME], memory)
            distances.diagonal(start).fill_(-1)  # each comes first among its own neighbours
            nearest = distances.topk(min(N_NEIGHBOURS, len(memory)), dim=1, largest=False)
            around.append(nearest.indices)
        self.register_buffer("around", torch.cat(around))

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, H, W, C)`."""
        positions = vectors.flatten(1, 2)  # (N, P, C)
        n_positions, channels = positions.shape[1:]
        distances, members = self.patches.nearest(positions.flatten(0, 1))
        if self.get_buffer("around").shape[1] == 1:  # its share would be all
            return distances.view(-1, n_positions).amax(dim=1)
        highest, where = distances.view(-1, n_positions).max(dim=1, keepdim=True)  # (N, 1)
        farthest = positions.gather(1, where[:, :, None].expand(-1, -1, channels))  # (N, 1, C)
        member = members.view(-1, n_positions).gather(1, where)[:, 0]
        neighbours = self.patches.get_buffer("memory")[self.get_buffer("around")[member]]
        to_neighbours = (neighbours - farthest).square().sum(dim=2).sqrt()  # (N, n)
        return highest[:, 0] * (1 - to_neighbours.softmax(dim=1)[:, 0])


class GaussianPatches(nn.Module):
    """Mahalanobis distance, under one Gaussian or one for each position.

    Args:
        location: `(P, C)`, P = H * W in the order of rows, or 1 for one Gaussian.
        whitening: `(P, C, C)`; the distance is the norm of a centred vector times it.
    """

    def __init__(self, location: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.register_buffer("location", location)
        self.register_buffer("whitening", whitening)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N, H, W)` of `(N, H, W, C)`."""
        centred = vectors.flatten(1, 2) - self.get_buffer("location")  # (N, P, C)
        whitened = torch.matmul(centred.transpose(0, 1), self.get_buffer("whitening"))
        return whitened.square().sum(dim=2).sqrt().T.reshape(vectors.shape[:3])


def coreset(vectors: Tensor, n: int, *, seed: int) -> Tensor:
    """Positions of `n` of the vectors `(M, C)` that leave none far away, the first at random.

    The greedy k-centre: each is the one farthest from those taken before it, seen through a random
    projection. Fewer are taken where all others are copies of them.
    """
    rng = np.random.default_rng(seed)
    vectors = vectors - vectors.mean(dim=0)  # so that little cancels in the squares
    if vectors.shape[1] > _PROJECTED:
        projection = rng.standard_normal((vectors.shape[1], _PROJECTED)) / _PROJECTED**0.5
        vectors = vectors @ torch.from_numpy(projection).to(vectors)
    squares = vectors.square().sum(dim=1)
    least = _SAME * squares.mean()
    taken = [int(rng.integers(len(vectors)))]
    farthest = torch.full_like(squares, torch.inf)
    while len(taken) < n:
        last = taken[-1]
        distances = torch.addmv(squares, vectors, vectors[last], alpha=-2).add_(squares[last])
        torch.minimum(farthest, distances, out=farthest)
        where = int(farthest.argmax())
        if farthest[where] <= least:
            break
        taken.append(where)
    return torch.tensor(taken, device=vectors.device)


def one_gaussian(vectors: Tensor) -> GaussianPatches:
    """Of vectors `(M, C)` whatever their position, under a Ledoit-Wolf covariance."""
    model = Mahalanobis(seed=0)
    model.fit(vectors.double().cpu().numpy())
    whitening = np.linalg.cholesky(model.precision)
    tensors = torch.from_numpy(model.location[None]), torch.from_numpy(whitening[None])
    return GaussianPatches(*(tensor.float() for tensor in tensors))


def gaussian_of_each_position(batches: Iterable[Tensor]) -> GaussianPatches:
    """Of the vectors `(n, H, W, C)` of some images at a time.

    Each covariance is Ledoit and Wolf's (2004), with a ridge on its diagonal of `_RIDGE` times the
    mean variance over all positions, for a position without spread would see an anomaly in any
    noise. Only sums are held, in double precision, of the vectors less the mean of the first few.
    """
    n = 0
    shift = total = products = weighted = norms = torch.empty(0)
    for batch in batches:
        vectors = batch.flatten(1, 2).transpose(0, 1).double()  # (P, n, C)
        if n == 0:
            shift = vectors.mean(dim=1)
            total, weighted = torch.zeros_like(shift), torch.zeros_like(shift)
            norms, products = torch.zeros_like(shift[:, 0]), torch.diag_embed(total)
        vectors = vectors - shift[:, None]
        squares = vectors.square().sum(dim=2, keepdim=True)
        total += vectors.sum(dim=1)
        products.baddbmm_(vectors.transpose(1, 2), vectors)
        weighted += (squares * vectors).sum(dim=1)
        norms += squares.square().sum(dim=(1, 2))
        n += vectors.shape[1]
    mean, channels = total / n, total.shape[1]
    variance = (products.diagonal(dim1=1, dim2=2) / n - mean.square()).mean()
    ridge = (_RIDGE * variance if variance > 0 else 1.0) * torch.eye(channels).to(mean)
    whitening = torch.empty(products.shape, device=products.device)
    for start in range(0, len(products), _POSITIONS_AT_A_TIME):
        part = slice(start, start + _POSITIONS_AT_A_TIME)
        covariance = shrunk_covariance(
            n, mean[part], products[part] / n, weighted[part] / n, norms[part] / n
        )
        factor = torch.linalg.cholesky(covariance + ridge)
        whitening[part] = torch.linalg.inv(factor).transpose(1, 2)
    return GaussianPatches((shift + mean).float(), whitening)


def shrunk_covariance(
    n: int, mean: Tensor, products: Tensor, weighted: Tensor, norms: Tensor
) -> Tensor:
    """Ledoit and Wolf's covariance `(P, C, C)` of each position, from means over n vectors x.

    Args:
        n: number of vectors.
        mean: `(P, C)`, of x.
        products: `(P, C, C)`, of x xᵀ.
        weighted: `(P, C)`, of |x|² x.
        norms: `(P,)`, of |x|⁴.
    """
    channels = mean.shape[1]
    covariance = products - mean[:, :, None] * mean[:, None, :]
    middle = mean.square().sum(dim=1)  # |mean|²
    trace = products.diagonal(dim1=1, dim2=2).sum(dim=1)
    across = (products @ mean[:, :, None])[:, :, 0]
    # The mean of |x - mean|⁴, multiplied out.
    fourth = (
        norms + 4 * (mean * (across - weighted)).sum(dim=1) + 2 * middle * trace - 3 * middle**2
    )
    scale = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)
    squared = covariance.square().sum(dim=(1, 2))
    spread = (squared - channels * scale**2).clamp(min=0)
    noise = ((fourth - squared) / n).clamp(min=0)
    shrinkage = torch.where(noise < spread, noise / spread, (noise > 0).double())
    target = (shrinkage * scale)[:, None, None] * torch.eye(channels).to(covariance)
    return (1 - shrinkage)[:, None, None] * covariance + target
