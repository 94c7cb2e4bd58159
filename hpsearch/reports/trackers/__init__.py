"""What a study tells TensorBoard or MLflow.

Answers: how does a study stand beside all other experiments of its user?
"""

__all__ = ["logged"]
