"""Image tables and pixels: adapters that read data sets, and the decoded cache of their images.

Answers: which images are there, what is each of them, and what does a viewer show of it?
"""

__all__ = [
    "cutpaste",
    "digits",
    "folders",
    "manifest",
    "nih",
    "nih_copies",
    "pixels",
    "reading",
    "registry",
    "synthetic",
    "table",
    "torchvision_sets",
    "window",
]
