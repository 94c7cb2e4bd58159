"""One description, drawn by two libraries: the same values, and texts that mean themselves."""

import numpy as np
import pytest

from hpsearch.reports.draw_matplotlib import matplotlib_figure, png
from hpsearch.reports.draw_plotly import plotly_figure
from hpsearch.reports.drawing import (
    Area,
    Axis,
    Bars,
    Cells,
    Drawing,
    Line,
    Mark,
    Note,
    Rule,
)

EVIL = "<b>$\\frac{</b>\nnext"


def test_both_libraries_draw_the_same_values() -> None:
    line = Line([1, 10, 20], [0.5, np.nan, 0.7], "a", marker="square", errors=[0.1, 0.2, 0.3])
    drawing = Drawing((line,), Axis("x", ticks={1: "one", 10: "ten"}, is_log=True), Axis("y"))
    page, picture = plotly_figure(drawing), matplotlib_figure(drawing).axes[0]
    (theirs,) = (one for one in picture.lines if one.get_label() == "a")
    np.testing.assert_array_equal(page.data[0].x, theirs.get_xdata())
    np.testing.assert_array_equal(page.data[0].y, theirs.get_ydata())
    assert list(page.data[0].error_y.array) == [0.1, 0.2, 0.3]
    assert page.layout.xaxis.type == picture.get_xscale() == "log"
    assert [text.get_text() for text in picture.get_xticklabels()] == ["one", "ten"]
    assert page.layout.xaxis.ticktext == ("one", "ten")


MARKS: tuple[Mark, ...] = (
    Line([0, 1], [0, 1], EVIL, dash="dot", marker="circle", hollow=[True, False], hover=[EVIL] * 2),
    Line([0, 1], [0, 1], dash=None, marker="x", has_steps=True),
    Area([0, 1, 1], [0, 0, 1], "#0072B2", 0.2, width=1),
    Rule(0.5, name=EVIL, dash="longdash"),
    Rule(0.5, is_upright=True, label=EVIL),
    Note(0.5, 0.5, EVIL),
    Bars([EVIL, "b"], [0.7, 0.3], [EVIL, "0.3"]),
    Cells([EVIL, "b"], ["c"], [[0.5], [None]], [[EVIL], [""]], EVIL),
)


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: type(mark).__name__)
def test_every_mark_is_drawn_and_texts_of_others_stay_texts(mark: Mark) -> None:
    drawing = Drawing((mark,), Axis(EVIL), Axis(EVIL), title=EVIL, subtitle=EVIL)
    html = str(plotly_figure(drawing).to_json())
    assert "<b>$" not in html
    assert "&lt;b&gt;$" in html
    assert png(drawing).startswith(b"\x89PNG")


@pytest.mark.parametrize(("last", "step"), [(3, 1), (40, None)])
def test_few_whole_numbers_get_a_tick_each(last: int, step: int | None) -> None:
    numbers = list(range(last + 1))
    drawing = Drawing((Line(numbers, numbers),), Axis("trial", is_whole=True))
    assert plotly_figure(drawing).layout.xaxis.dtick == step
    ticks = matplotlib_figure(drawing).axes[0].get_xticks()
    assert all(float(tick).is_integer() for tick in ticks)


def test_a_figure_within_a_report_leaves_its_colours_to_the_page() -> None:
    within, alone = Drawing((Line([1], [1]),)), Drawing((Line([1], [1]),), title="alone")
    assert plotly_figure(within).layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert plotly_figure(alone).layout.paper_bgcolor is None
    assert plotly_figure(alone).layout.title.text == "alone"


def test_a_square_figure_has_one_scale() -> None:
    drawing = Drawing((Line([0, 1], [0, 1], "a"),), height=600, is_square=True)
    assert plotly_figure(drawing).layout.yaxis.scaleanchor == "x"
    picture = matplotlib_figure(drawing)
    assert picture.get_figwidth() == picture.get_figheight() == 6
    assert picture.axes[0].get_aspect() == 1
