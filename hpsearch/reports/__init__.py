"""Figures and pages from stored results.

Answers: what does a study look like to people?

A figure is described once, as a `drawing`; `draw_plotly` and `draw_matplotlib` draw it.
"""

__all__ = [
    "budget_figure",
    "document",
    "draw_matplotlib",
    "draw_plotly",
    "drawing",
    "heat_table",
    "render",
    "search_figures",
    "study_data",
    "study_report",
]
