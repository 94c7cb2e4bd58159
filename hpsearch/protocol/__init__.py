"""The paper's protocol: folds of normals by group, and the few anomalies that a search may see.

Answers: which images does each training see, and which is it scored on?
"""

__all__ = ["fold_files", "folds", "labels", "protocol"]
