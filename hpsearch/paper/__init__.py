"""The paper's tables: which studies answer them, and their figures beside the paper's.

Answers: does this software give what the paper reports?
"""

__all__ = [
    "ablation",
    "contents",
    "lines",
    "numbers",
    "plan",
    "published",
    "running",
    "table4",
]
