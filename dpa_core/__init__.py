"""The compact training core: Deep Perceptual Autoencoders on one device.

Answers: how is the autoencoder built, trained, grown and scored?
"""

__all__ = [
    "autoencoder",
    "batches",
    "config",
    "efficientnet_lite",
    "errors",
    "features",
    "fit",
    "growth",
    "loss",
    "score",
    "tensor_files",
    "vgg",
]
