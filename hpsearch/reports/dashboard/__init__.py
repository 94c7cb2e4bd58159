"""Optuna's dashboard on a study, behind a guard, with notes, pictures and figures of ours.

Answers: how does a search that is under way look in a browser?
"""

__all__ = ["publish", "server"]
