"""The trained model as a bundle of safetensors and JSON, and what scores images with it."""
