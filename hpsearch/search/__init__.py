"""The search: trials asked of Optuna, run as tasks by workers, and told.

Answers: how good is each configuration?
"""

__all__ = ["engine", "events", "rebuild", "search", "task", "trial"]
