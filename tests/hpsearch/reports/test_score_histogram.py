import numpy as np
import pytest

from hpsearch.reports.draw_plotly import plotly_figure
from hpsearch.reports.score_figures import TypeScores, histogram, histogram_block, type_table


def _types(n: int) -> tuple[TypeScores, ...]:
    rng = np.random.default_rng(0)
    normal = TypeScores("normal", "", rng.normal(size=50), None, 0.02)
    others = (TypeScores(f"t{i}", "seen", rng.normal(2, 1, 4 + i), 0.9, 0.5) for i in range(n))
    return (normal, *others)


def test_bins_hold_every_image_and_the_threshold() -> None:
    rows = _types(3)
    found = histogram(rows, threshold=99.0)
    assert found.names == ("normal (50)", "t0 (4)", "t1 (5)", "t2 (6)")
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0)
    assert found.edges[0] < found.edges[-1] == 99.0
    assert np.rint(found.shares[1] * 4).sum() == 4


def test_many_types_are_counted_together() -> None:
    found = histogram(_types(8), threshold=None)
    assert found.names[-1] == f"3 other types ({9 + 10 + 11})"
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0)


def test_scores_that_are_all_equal_have_a_bin() -> None:
    rows = (TypeScores("normal", "", np.ones(3), None, None),)
    assert histogram(rows, None).shares.max() == 1.0


def test_names_of_others_are_escaped_in_the_figure() -> None:
    rows = (_types(0)[0], TypeScores("<b>x</b>", "seen", np.ones(2), 0.5, None))
    block = histogram_block(histogram(rows, 1.0), rows)
    ticks = plotly_figure(block.drawing).layout.yaxis.ticktext
    assert ticks[1] == "&lt;b&gt;x&lt;/b&gt;<br>(2)"
    assert type_table(rows).rows[1] == ("<b>x</b>", "seen", "2", "0.500", "no threshold")


@pytest.mark.parametrize("threshold", [None, 1.5])
def test_the_threshold_is_drawn_where_there_is_one(threshold: float | None) -> None:
    rows = _types(2)
    figure = plotly_figure(histogram_block(histogram(rows, threshold), rows).drawing)
    assert [shape.x0 for shape in figure.layout.shapes] == ([] if threshold is None else [1.5])
