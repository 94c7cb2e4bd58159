"""A model's preprocessing as a network: any image in, the square that its detector sees out."""

import torch
from torch import Tensor, nn

from hpsearch.export.colour import equalized, grey
from hpsearch.export.resampling import resized_square
from hpsearch.model.facts import PreprocessingFacts


class Preprocess(nn.Module):
    """What `hpsearch.model.images.as_seen` does to an image, on a batch of one size.

    Args:
        facts: of the model. A window of two numbers is applied here; the window that a DICOM file
            names itself is applied by whoever reads the file.
            So are an EXIF orientation and white behind what is transparent: see
            `hpsearch.datasets.reading`.

    Attributes:
        channels: of the images that it takes, 1 or 3. Where it is 3, a grey image is given as three
            equal channels.
        dtype: of these images: uint8, or float32 where a window says what is black and white.
    """

    def __init__(self, facts: PreprocessingFacts) -> None:
        super().__init__()
        self.facts = facts
        self.limits = facts.window if isinstance(facts.window, tuple) else None
        always_grey = facts.channels == 1 and not facts.greyscale
        self.channels = 1 if facts.window or always_grey else 3
        self.dtype = torch.float32 if self.limits else torch.uint8

    def forward(self, images: Tensor) -> Tensor:
        """uint8 `(N, size, size, channels)` of images `(N, H, W, self.channels)`."""
        facts = self.facts
        planes = images.permute(0, 3, 1, 2).double()  # (N, C, H, W)
        if self.limits:
            planes = _windowed(planes, *self.limits)
        if facts.greyscale and self.channels == 3:
            planes = grey(planes)
        if facts.equalize:
            planes = equalized(planes)
        square = resized_square(
            planes, fraction=facts.central_crop, size=facts.size, stretch=facts.fit == "stretch"
        )
        return square.to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, facts.channels)


def _windowed(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low) * 255).clamp(0, 255).round()
