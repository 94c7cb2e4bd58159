"""Figures and pages from stored results.

Answers: what does a study look like to people?
"""

__all__ = [
    "budget_figure",
    "document",
    "heat_table",
    "html",
    "importance",
    "label_budget",
    "look",
    "markdown",
    "study_data",
    "study_report",
]
