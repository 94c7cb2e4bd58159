"""The trained model: a bundle of safetensors and JSON, and what scores images with it.

Answers: how is a model kept, and how is it used in Python?
"""

__all__ = ["bundle", "estimator", "images", "model"]
