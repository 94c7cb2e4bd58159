"""The search: trials asked of Optuna, run as tasks by workers, and told.

Answers: how good is each configuration?
"""

__all__ = ["engine", "events", "recover", "rescoring", "run_tasks", "samplers", "search", "task"]
