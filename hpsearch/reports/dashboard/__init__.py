"""Optuna's dashboard on a study, behind a guard, with notes, pictures and figures of ours."""
