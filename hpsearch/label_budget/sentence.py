"""What the curves mean for someone who must decide whether to label more, in a sentence."""

from hpsearch.label_budget.curves import BudgetCurves, Point

_CLAIMED = (1, 20, 0.02)  # types, examples, and how far below the best (paper, section 4.5)
_NOTHING = 0.0005  # of regret: shown as 0.000, nobody labels images for it


def advice(curves: BudgetCurves, *, n_types: int, n_examples: int) -> str:
    """What the choice loses with about as many labels as there are, and what more would bring.

    Args:
        curves: what was computed.
        n_types, n_examples: the labels that there are; the nearest point is taken.
    """
    here = _nearest(curves, n_types, n_examples)
    lost = f"with {named(here)} the choice loses {here.regret:.3f} of test AUC on average"
    if here.regret < _NOTHING:
        return f"with {named(here)} the choice is as good as the best; no more are needed"
    better = [
        point
        for point in curves.points
        if point.cell.n_types >= here.cell.n_types
        and point.cell.n_examples >= here.cell.n_examples
        and point.cell.n_eligible == here.cell.n_eligible  # or it would speak of other types
        and point.regret < here.regret - _NOTHING
    ]
    if not better:
        return f"{lost}; more labels, up to those asked about, would not help"
    # The most help for the fewest new labels: half of what can be gained, or the best there is.
    target = (here.regret + min(point.regret for point in better)) / 2
    enough = [point for point in better if point.regret <= target]
    there = min(enough, key=lambda point: (point.cell.n_examples, point.cell.n_types))
    return f"{lost}; {named(there)} would lose {there.regret:.3f}"


def claim(curves: BudgetCurves) -> str:
    """Whether the paper's claim holds here: 20 examples of one type choose within 0.02."""
    n_types, n_examples, within = _CLAIMED
    point = curves.at(n_types, n_examples)
    if point is None:
        return f"no {n_examples} examples of one type can be had here, so the claim is not tested"
    below = point.regret
    verdict = "is within" if below <= within else f"is {below - within:.3f} more than"
    return (
        f"with {named(point)} the mean test AUC is {point.mean:.3f}, {below:.3f} below the best of "
        f"the grid: this {verdict} the paper's {within}"
    )


def named(point: Point) -> str:
    """Such as `20 examples of 1 type`."""
    examples = "example" if point.cell.n_examples == 1 else "examples"
    types = "type" if point.cell.n_types == 1 else "types"
    return f"{point.cell.n_examples} {examples} of {point.cell.n_types} {types}"


def _nearest(curves: BudgetCurves, n_types: int, n_examples: int) -> Point:
    return min(
        curves.points,
        key=lambda point: (
            abs(point.cell.n_types - n_types),
            abs(point.cell.n_examples - n_examples),
            point.cell.n_examples,
        ),
    )
