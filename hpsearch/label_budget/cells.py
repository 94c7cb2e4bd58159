"""Which numbers of types and of examples are asked about, and whether the data holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.errors import DataError, SpecError

USUAL_TYPES = (1, 2, 4)
USUAL_EXAMPLES = (1, 5, 10, 20, 50, 100)  # about those of the paper's Fig. 4


@dataclass(frozen=True)
class Cell:
    """One point of the figure.

    Attributes:
        n_types: anomaly types of which examples are labelled.
        n_examples: in all, spread evenly over the types.
        n_eligible: types that hold an even share, of which a draw takes `n_types`.
    """

    n_types: int
    n_examples: int
    n_eligible: int

    @property
    def share(self) -> int:
        """Examples that one of its types gives at most."""
        return -(-self.n_examples // self.n_types)


def plan_cells(
    sizes: Sequence[int],
    *,
    types: Sequence[int] | None = None,
    examples: Sequence[int] | None = None,
    parts: int = 1,
) -> tuple[Cell, ...]:
    """The cells that the data has anomalies for, by types and then by examples.

    Args:
        sizes: images of each type that labelled anomalies are drawn from.
        types, examples: the numbers asked for, None for the usual ones.
        parts: folds between which the examples are parted, 1 where all share them.

    Raises:
        SpecError: a number below 1, or examples that are too few for the types or the folds.
        DataError: more types, or more examples of them, than the data has.
    """
    if not sizes:
        raise DataError("labelled anomalies: the data has none to draw from; label some")
    _check_types(types or (), len(sizes))
    wanted_types = sorted({*(types or (n for n in USUAL_TYPES if n <= len(sizes)))})
    _check_examples(examples or (), wanted_types, sorted(sizes, reverse=True), parts)
    cells = tuple(
        cell
        for n_types in wanted_types
        for n_examples in sorted({*(examples or USUAL_EXAMPLES)})
        if (cell := _cell(sizes, n_types, n_examples)).n_eligible >= n_types
        and n_examples >= max(n_types, parts)
    )
    if not cells:
        raise DataError(
            f"labelled anomalies: the {sum(sizes)} of {len(sizes)} types fit none of the usual "
            "numbers; give --types and --examples"
        )
    return cells


def _cell(sizes: Sequence[int], n_types: int, n_examples: int) -> Cell:
    share = -(-n_examples // n_types)
    return Cell(n_types, n_examples, sum(size >= share for size in sizes))


def _check_types(types: Sequence[int], there: int) -> None:
    for number in types:
        if number < 1:
            raise SpecError(f"--types: {number} is too few; ask for at least 1")
        if number > there:
            raise DataError(f"--types: {number} asked for, the data has {there}; lower it")


def _check_examples(
    examples: Sequence[int], types: Sequence[int], falling: Sequence[int], parts: int
) -> None:
    """Refuse a number of examples that none of the numbers of types can have."""
    most = max(n_types * falling[n_types - 1] for n_types in types)
    for number in examples:
        if number < max(1, types[0]):
            raise SpecError(
                f"--examples: {number} is too few for {types[0]} types; ask for at least one a type"
            )
        if number < parts:
            raise SpecError(
                f"--examples: {number} is too few to part between {parts} folds; raise it"
            )
        if number > most:
            raise DataError(
                f"--examples: {number} asked for; --types {_given(types)} hold {most}, spread "
                "evenly; lower it, or add to --types"
            )


def _given(numbers: Sequence[int]) -> str:
    return ",".join(str(number) for number in numbers)
