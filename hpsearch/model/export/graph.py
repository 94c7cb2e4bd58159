"""The whole of a model as one network, and how torch.export holds it."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hpsearch.datasets.reading import MIN_SIDE
from hpsearch.model.export.pillow import Preprocess
from hpsearch.model.model import AnyModel, AverageModel, Model

INPUT, SCORE, FLAG = "images", "score", "is_anomaly"
SIZES = ("batch", "height", "width")
"""The first dimensions of the images, which stay free."""

LARGEST = 10_000  # px, a side of an image
_EXAMPLE = (2, 48, 56)  # of the free sizes; none is 1, which torch.export would keep as it is


def input_of(model: AnyModel) -> Preprocess:
    """The preprocessing of a model that takes the images which serve all of them."""
    return max(map(Preprocess, model.preprocessings), key=lambda one: one.channels)


def takes_grey(model: AnyModel) -> bool:
    """Whether a preprocessing of a model takes grey images alone."""
    return min(Preprocess(how).channels for how in model.preprocessings) == 1


class DetectorGraph(nn.Module):
    """Preprocessing and detector of a model.

    Args:
        model: of which the graph is made; it is left as it is.

    Raises:
        SpecError: its detector is no network.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.preprocess = Preprocess(model.facts.preprocessing)
        # What is trained channels last would be saved with a warning.
        self.detector = deepcopy(model.detector.graph()).to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(N,)` of images `(N, H, W, C)`; of three equal channels it may take one."""
        scores: Tensor = self.detector(self.preprocess(images[..., : self.preprocess.channels]))
        return scores


class AverageGraph(nn.Module):
    """The members of a model that averages, and their weighted sum.

    Args: as of `DetectorGraph`.
    """

    def __init__(self, model: AverageModel) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(DetectorGraph, model.members))
        self.parts = [member.part for member in model.facts.members]

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(N,)` of images `(N, H, W, C)`."""
        scores = [
            part.weight * (member(images).double() - part.location) / part.scale
            for member, part in zip(self.members, self.parts, strict=True)
        ]
        return torch.stack(scores).sum(dim=0)


class Graph(nn.Module):
    """Scores and threshold of a model.

    Args:
        model: of which the graph is made; it is left as it is.

    Raises:
        SpecError: a detector of it is no network.
    """

    def __init__(self, model: AnyModel) -> None:
        super().__init__()
        self.scores: nn.Module
        if isinstance(model, AverageModel):
            self.scores = AverageGraph(model)
        elif isinstance(model, Model):
            self.scores = DetectorGraph(model)
        calibration = model.facts.calibration
        self.threshold = None if calibration is None else calibration.threshold

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores `(N,)` float32 of images `(N, H, W, C)`, and flags `(N,)` where calibrated."""
        scores = self.scores(images)
        if self.threshold is None:
            return (scores.float(),)
        return scores.float(), scores.double() > self.threshold


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph with its sizes free.

    Attributes:
        program: as torch.export holds it.
        channels: of the images, 1 or 3.
        dtype: of the images.
        outputs: their names, in order.
    """

    program: ExportedProgram
    channels: int
    dtype: torch.dtype
    outputs: tuple[str, ...]


def trace(model: AnyModel) -> Traced:
    """The graph of a model, for batches of any number of images of any one size.

    Args:
        model: on the CPU.

    Raises:
        SpecError: its detector is no network.
    """
    graph = Graph(model).eval().requires_grad_(False)
    taken = input_of(model)
    channels, dtype = taken.channels, taken.dtype
    batch, *sides = SIZES
    sizes = [Dim(batch, min=1), *(Dim(side, min=MIN_SIDE, max=LARGEST) for side in sides)]
    with torch.no_grad():
        example = torch.zeros(*_EXAMPLE, channels, dtype=dtype)
        program = torch.export.export(graph, (example,), dynamic_shapes=(dict(enumerate(sizes)),))
    outputs = (SCORE,) if graph.threshold is None else (SCORE, FLAG)
    return Traced(program, channels, dtype, outputs)
