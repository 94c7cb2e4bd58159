"""Image tables and pixels: adapters that read data sets, and the decoded cache of their images.

Answers: which images are there, what is each of them, and what does a viewer show of it?
"""

__all__ = [
    "catalogue",
    "cutpaste",
    "digits",
    "folders",
    "nih",
    "nih_copies",
    "nih_entries",
    "pixels",
    "reading",
    "registry",
    "synthetic",
    "table",
    "torchvision_sets",
    "window",
]
