"""Random draws of labelled anomalies, all cells of the figure from the same orders.

A draw is what `hpsearch.budget.draw_labelled` would draw with its seed, from types that hold an
even share. So of one repeat more types contain fewer types, and more examples contain fewer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpsearch.label_budget.cells import Cell

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draws:
    """The labelled anomalies of every repeat at one cell.

    Attributes:
        selected: `(R, s)` places in the pool, type by type, within a type in the order drawn.
        types: `(R, t)` numbers of the drawn types, in the order drawn.
    """

    selected: Indices
    types: Indices


class Orders:
    """In which order each repeat draws the types, and the images of each type.

    Args:
        types: `(A,)` the type of each anomaly of the pool.
        repeats: how many draws.
        seed: of all of them.
        deepest: images that are drawn of a type at most.
    """

    def __init__(self, types: ArrayLike, *, repeats: int, seed: int, deepest: int) -> None:
        self.names, self.type_of = np.unique(np.asarray(types, dtype=object), return_inverse=True)
        self.sizes = np.bincount(self.type_of)
        members = [np.flatnonzero(self.type_of == kind) for kind in range(len(self.names))]
        self._types = np.empty((repeats, len(members)), dtype=np.int64)
        # -1 where a type has no further image; `draw` never reaches there.
        self._images = np.full((repeats, len(members), deepest), -1, dtype=np.int64)
        for repeat, own in enumerate(np.random.SeedSequence(seed).generate_state(repeats)):
            type_rng, *image_rngs = np.random.default_rng(int(own)).spawn(1 + len(members))
            self._types[repeat] = type_rng.permutation(len(members))
            for kind, images in enumerate(members):
                drawn = image_rngs[kind].permutation(images)[:deepest]
                self._images[repeat, kind, : len(drawn)] = drawn

    def draw(self, cell: Cell) -> Draws:
        """The draws `(R, ...)` of a cell: the first types in order that hold an even share."""
        holds = self.sizes >= cell.share
        first = np.argsort(~holds[self._types], axis=1, kind="stable")[:, : cell.n_types]
        types = np.take_along_axis(self._types, first, axis=1)
        share, left_over = divmod(cell.n_examples, cell.n_types)
        repeats = np.arange(len(types))
        selected = [
            self._images[repeats, types[:, turn], : share + (turn < left_over)]
            for turn in range(cell.n_types)
        ]
        return Draws(np.concatenate(selected, axis=1), types)
