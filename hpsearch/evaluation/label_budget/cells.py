"""Which numbers of types and of examples are asked about, and random draws of so many anomalies.

All cells of the figure are drawn from the same orders. A draw is what
`protocol.labels.draw_labelled` would draw with its seed, from types that hold an even share. So of
one repeat more types contain fewer types, and more examples contain fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpsearch.config.spec import StudySpec
from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.folds import final_split
from hpsearch.protocol.protocol import labelled_anomalies

Indices = NDArray[np.int64]

USUAL_TYPES = (1, 2, 4)
USUAL_EXAMPLES = (1, 5, 10, 20, 50, 100)  # about those of the paper's Fig. 4


@dataclass(frozen=True)
class BudgetCell:
    """One point of the figure.

    Attributes:
        n_types: anomaly types of which examples are labelled.
        n_examples: in all, spread evenly over the types.
        n_eligible: types that hold an even share, of which a draw takes `n_types`.
    """

    n_types: int
    n_examples: int
    n_eligible: int

    @classmethod
    def of(cls, n_types: int, n_examples: int, sizes: Sequence[int]) -> "BudgetCell":
        """The cell of so many types and examples, of data with types of these sizes."""
        share = -(-n_examples // n_types)
        return cls(n_types, n_examples, sum(size >= share for size in sizes))

    @property
    def share(self) -> int:
        """Examples that one of its types gives at most."""
        return -(-self.n_examples // self.n_types)


def plan_cells(
    sizes: Sequence[int],
    *,
    types: Sequence[int] | None = None,
    examples: Sequence[int] | None = None,
    n_folds: int = 1,
) -> tuple[BudgetCell, ...]:
    """The cells that the data has anomalies for, by types and then by examples.

    Args:
        sizes: images of each type that labelled anomalies are drawn from.
        types, examples: the numbers asked for, None for the usual ones.
        n_folds: folds between which the examples are parted, 1 where all share them.

    Raises:
        SpecError: a number below 1, or examples that are too few for the types or the folds.
        DataError: more types, or more examples of them, than the data has.
    """
    if not sizes:
        raise DataError("labelled anomalies: the data has none to draw from; label some")
    for number in types or ():
        if number < 1:
            raise SpecError(f"--types: {number} is too few; ask for at least 1")
        if number > len(sizes):
            raise DataError(f"--types: {number} asked for, the data has {len(sizes)}; lower it")
    wanted_types = sorted({*(types or (n for n in USUAL_TYPES if n <= len(sizes)))})
    _check_examples(examples or (), wanted_types, sorted(sizes, reverse=True), n_folds)
    cells = tuple(
        cell
        for n_types in wanted_types
        for n_examples in sorted({*(examples or USUAL_EXAMPLES)})
        if (cell := BudgetCell.of(n_types, n_examples, sizes)).n_eligible >= n_types
        and n_examples >= max(n_types, n_folds)
    )
    if not cells:
        raise DataError(
            f"labelled anomalies: the {sum(sizes)} of {len(sizes)} types fit none of the usual "
            "numbers; give --types and --examples"
        )
    return cells


def independent_pool(scores: StoredScores, spec: StudySpec) -> StoredScores:
    """`scores` without the anomalies that share a group with normals that a fold trained on.

    The folds of a study leave the groups of its own labelled anomalies out of their training, and
    only those; nothing is left out of a study that was told to split groups.

    Raises:
        DataError: no anomaly is left.
    """
    if spec.search.split_groups:
        return scores
    groups = scores.table["group"]
    trained = set(groups.iloc[final_split(scores.table)])
    if spec.labels.anomalies == "shared":  # else a fold leaves out those of its own part alone
        trained -= set(groups.iloc[labelled_anomalies(spec, scores.table).positions])
    kept = np.flatnonzero(~groups.iloc[scores.pool].isin(trained).to_numpy())
    if not kept.size:
        raise DataError(
            f"labelled anomalies: all {scores.pool.size} share a group with normals that the "
            "models were trained on; label anomalies of other groups"
        )
    return replace(scores, pool=scores.pool[kept], pool_scores=scores.pool_scores[:, :, kept])


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

    def draw(self, cell: BudgetCell) -> Draws:
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


def _check_examples(
    examples: Sequence[int], types: Sequence[int], falling: Sequence[int], n_folds: int
) -> None:
    """Refuse a number of examples that none of the numbers of types can have."""
    asked = ",".join(str(number) for number in types)
    most = max(n_types * falling[n_types - 1] for n_types in types)
    for number in examples:
        if number < max(1, types[0]):
            raise SpecError(
                f"--examples: {number} is too few for {types[0]} types; ask for at least one a type"
            )
        if number < n_folds:
            raise SpecError(
                f"--examples: {number} is too few to part between {n_folds} folds; raise it"
            )
        if number > most:
            raise DataError(
                f"--examples: {number} asked for; --types {asked} hold {most}, spread "
                "evenly; lower it, or add to --types"
            )
