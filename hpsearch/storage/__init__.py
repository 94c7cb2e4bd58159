"""A run directory: trials in SQLite, their results, and the environment that they were made in.

Answers: what is on disk of a study, and is it whole?
"""

__all__ = ["backups", "database", "optuna_storage", "results", "run_dir", "trials"]
