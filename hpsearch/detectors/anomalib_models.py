"""The detectors `anomalib:MODEL`: anomalib's image models, on the study's frozen network.

Pixels go in from memory; what Lightning writes goes into a scratch folder that is removed. A model
is kept as its tensors, so one that has fitted anything else is refused as soon as it is fitted.
"""

import inspect
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dpa_core.batches import as_input
from dpa_core.features import Architecture, FeatureExtractor
from hpsearch.config.space import LAYER, Params, layers_of
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.base import Detector, ImageView, Setup, Training, require_layers
from hpsearch.detectors.foreign import (
    constructor_arguments,
    constructor_axes,
    quiet,
    seeded,
    unknown_model,
)
from hpsearch.detectors.patch import PatchDetector
from hpsearch.detectors.saved_tensors import damaged, load_tensors, save_tensors
from hpsearch.errors import SpecError, TaskError

_INSTALL = "detectors anomalib:MODEL need anomalib; pip install 'hpsearch[anomalib]'"
_BATCH = 32  # images, where a study names none
_COMPARED = 4  # training images that a model, read back, must score as before
_PARTS = ("pre_processor", "post_processor", "evaluator", "visualizer")
_OF_NETWORK = ("backbone", "layers", LAYER, "pre_trained")
_ON_ANY_NETWORK = ("Cflow", "Dfkde", "Dfm", "Fre", "MHPatchcore", "Padim", "Patchcore")
"""Models that take any network as a module; others build one of their own, by its name in timm."""

_ONE_LAYER = ("Dfkde", "Dfm", "Fre")
REFUSED = {
    "AiVad": "it is for videos",
    "Fuvas": "it is for videos",
    "CFM": "it needs point clouds beside the images",
    "Draem": "it draws its anomalies from a data set of textures that it downloads",
    "EfficientAd": "it trains on a second data set that it downloads",
    "AnomalyVFM": "it is not fitted on normal images",
    "VlmAd": "it is not fitted on normal images",
    "WinClip": "it is not fitted on normal images",
    "Supersimplenet": "it needs masks in training",
}


class AnomalibDetector:
    """A model of anomalib; a class is made of it for each, see `detector_of`."""

    name: ClassVar[str]
    kind: ClassVar[Any]
    axes: ClassVar[Mapping[str, AxisChoices]]
    cost: ClassVar[float] = 10.0

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.resolution = int(setup.params["resolution"])
        with quiet(), seeded(setup.seed):
            self.model = self._build()

    @classmethod
    def layer_axes(cls, architecture: Architecture) -> Mapping[str, AxisChoices]:
        """One of the layers in the middle of the network, or two where the model takes several."""
        if LAYER not in cls.axes or not cls._is_on_our_network():
            return {}
        choices = sorted(map(str, PatchDetector.layer_axes(architecture)[LAYER]), key=len)
        return {LAYER: (choices[0 if cls.kind.__name__ in _ONE_LAYER else 1],)}

    @classmethod
    def check(cls, params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where the layers are none; anomalib says in the trial what else is."""
        if params["random_crop"] != 1:
            raise SpecError(f"space: {cls.name} takes no random_crop, got {params['random_crop']}")
        if not cls._is_on_our_network():
            return
        if len(layers_of(params)) > 1 and cls.kind.__name__ in _ONE_LAYER:
            raise SpecError(f"space: {cls.name} takes one layer, got {params[LAYER]!r:.40}")
        require_layers(params, architecture)

    @staticmethod
    def size(params: Params) -> None:
        """No bottleneck is known."""

    def fit(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        *,
        max_steps: int,
        checkpoints: Path | None = None,
    ) -> Training:
        """Fit on all of `train`, for as many epochs as the model says, or else for `max_steps`.

        Raises:
            TaskError: what was fitted is not in the tensors of the model, so it cannot be saved.
        """
        size = min(self.setup.training.batch_size or _BATCH, len(train))
        order = torch.Generator().manual_seed(self.setup.seed)
        loader = _loader(train, batch_size=size, shuffle=True, generator=order)
        by_epochs = "max_epochs" in self.model.trainer_arguments
        length = {} if by_epochs else {"max_steps": max_steps, "max_epochs": -1}
        with self._engine(**length) as engine:
            engine.fit(self.model, train_dataloaders=loader)
            steps = 0 if by_epochs else int(engine.trainer.global_step)
        some = ImageView(train.pixels, train.positions[:_COMPARED], None)
        again = type(self)(self.setup)
        again._take({key: value.cpu().clone() for key, value in self._fitted().items()})
        if not np.allclose(again.score(some), self.score(some), rtol=1e-3):
            raise TaskError(
                "error", f"{self.name}: what it fits is not in its state_dict, so it cannot be kept"
            )
        return Training.without_curve(steps)

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """Anomalib's `pred_score`, neither normalised nor thresholded, `(n,)`."""

        def scores(outputs: Any) -> Tensor:
            found: Tensor | None = outputs.pred_score
            if found is None:
                found = torch.amax(outputs.anomaly_map, dim=(-2, -1))
            return found.double().reshape(-1)

        return np.concatenate([np.empty(0), *self._predictions(images, scores)])

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Anomalib's `anomaly_map`, `(n, R, R)`."""
        side = self.resolution

        def maps(outputs: Any) -> Tensor:
            if outputs.anomaly_map is None:
                raise SpecError(f"maps: the detector {self.name} gives one score an image, no maps")
            found: Tensor = outputs.anomaly_map
            return found.float().reshape(-1, side, side)

        none = np.empty((0, side, side), np.float32)
        return np.concatenate([none, *self._predictions(images, maps)])

    def graph(self) -> nn.Module:
        """Refused."""
        raise SpecError(
            f"export: {self.name} is exported by anomalib alone; use hpsearch predict, or search "
            "with the detector patch"
        )

    def save(self, folder: Path) -> None:
        """The tensors of the model but for those of the frozen network."""
        save_tensors(folder, {key: value.clone() for key, value in self._fitted().items()})

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "AnomalibDetector":
        """The fitted detector again.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        tensors = load_tensors(folder)
        detector = cls(setup)
        try:
            detector._take(tensors)
        except (RuntimeError, ValueError) as error:
            raise damaged(folder, f"is not of this configuration: {error}") from error
        return detector

    @classmethod
    def _is_on_our_network(cls) -> bool:
        return cls.kind.__name__ in _ON_ANY_NETWORK

    def _build(self) -> Any:
        arguments = constructor_arguments(self.kind, self.setup.params)
        side = (self.resolution, self.resolution)
        if self._is_on_our_network():
            extractor = build_extractor(self.setup.backbone, layers_of(self.setup.params))
            layers = list(extractor.layers)
            arguments["backbone"] = NamedLayers(extractor)
            takes_one = LAYER in inspect.signature(self.kind).parameters
            arguments |= {LAYER: layers[-1]} if takes_one else {"layers": layers}
            if arguments.get("n_features", 0) is None:  # Padim has numbers for its own networks
                channels = sum(map(self.setup.backbone.architecture.channels, layers))
                arguments["n_features"] = min(100, channels)
            transform = import_module("torchvision.transforms.v2").Resize(side)  # keeps the pixels
            before = import_module("anomalib.pre_processing").PreProcessor(transform)
        else:
            before = self.kind.configure_pre_processor(image_size=side)
        others = dict.fromkeys(_PARTS[1:], False)
        return self.kind(**arguments, pre_processor=before, **others)

    def _fitted(self) -> dict[str, Tensor]:
        """The tensors of the model, without those of the frozen network."""
        frozen = tuple(
            f"{name}."
            for name, module in self.model.named_modules(remove_duplicate=False)
            if isinstance(module, _Frozen)
        )
        tensors: dict[str, Tensor] = self.model.state_dict()
        return {key: value for key, value in tensors.items() if not key.startswith(frozen)}

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what was fitted.

        Raises:
            RuntimeError: a tensor of another shape; as ValueError: others than those needed.
        """
        if tensors.keys() != self._fitted().keys():
            raise ValueError("other tensors than those of the model")
        self.model.load_state_dict(tensors, strict=False)

    def _predictions(
        self, images: ImageView, part: Callable[[Any], Tensor]
    ) -> list[NDArray[np.floating[Any]]]:
        """A part of what anomalib says of each batch."""
        found: list[NDArray[np.floating[Any]]] = []

        def keep(trainer: Any, model: Any, outputs: Any, *_: Any) -> None:
            found.append(part(outputs).cpu().numpy())

        callback = import_module("lightning.pytorch.callbacks").LambdaCallback(
            on_predict_batch_end=keep
        )
        if len(images):
            with self._engine(callbacks=[callback]) as engine:
                engine.predict(
                    self.model,
                    dataloaders=_loader(images, batch_size=_BATCH),
                    return_predictions=False,
                )
        return found

    @contextmanager
    def _engine(self, **trainer: Any) -> Iterator[Any]:
        """Anomalib's engine: silent, from the seed, on the device of the setup, leaving nothing."""
        strategies = import_module("lightning.pytorch.strategies")
        on_gpu = self.setup.device.startswith("cuda")
        with quiet(), seeded(self.setup.seed), tempfile.TemporaryDirectory() as scratch:
            try:
                yield import_module("anomalib.engine").Engine(
                    logger=False,
                    default_root_dir=scratch,
                    accelerator="gpu" if on_gpu else "cpu",
                    strategy=strategies.SingleDeviceStrategy(torch.device(self.setup.device)),
                    enable_progress_bar=False,
                    enable_model_summary=False,
                    **trainer,
                )
            except SystemExit as end:
                # Lightning makes of a signal what it is not: a process that is told to end, ends.
                if type(end).__name__ == "SIGTERMException":
                    signal.raise_signal(signal.SIGTERM)
                if isinstance(end.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                raise


class _Frozen(nn.Module):
    """The frozen network as one step: torch.fx looks into no module of torch.nn, and anomalib
    traces the network by it, which what depends on the size of the image does not survive."""

    __module__ = "torch.nn"

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The raw features of images in [0, 1]."""
        found: dict[str, Tensor] = self.extractor(images * 2 - 1)
        return found


class NamedLayers(nn.Module):
    """A frozen network as anomalib takes one: torch.fx finds a module of the name of each layer."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.frozen = _Frozen(extractor)
        self.layers = extractor.layers
        for layer in self.layers:
            self.add_module(layer, nn.Identity())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Per layer `(N, C, H', W')`, of images `(N, 3, R, R)` in [0, 1]."""
        found = self.frozen(images)
        return {layer: self.get_submodule(layer)(found[layer]) for layer in self.layers}


def _loader(images: ImageView, **how: Any) -> DataLoader[Any]:
    """Anomalib's batches of images from memory, `(N, 3, R, R)` in [0, 1]."""
    batch_of = import_module("anomalib.data").ImageBatch

    def batch(rows: list[np.intp]) -> Any:
        pixels = (as_input(torch.from_numpy(images.pixels[np.array(rows)])) + 1) / 2
        return batch_of(image=pixels.expand(-1, 3, -1, -1).contiguous())

    return DataLoader(images.positions, collate_fn=batch, **how)  # type: ignore[arg-type]


@cache
def detector_of(model: str) -> type[Detector]:
    """The detector `anomalib:MODEL`.

    Raises:
        SpecError: anomalib is not installed, has none of that name, or it is none that is fitted on
            normal images alone.
    """
    name = f"anomalib:{model}"
    try:
        with quiet():
            models = import_module("anomalib.models")
    except ImportError as error:
        raise SpecError(f"detector {name!r:.60}: {_INSTALL} ({error})") from error
    known = {
        one: kind
        for one, kind in vars(models).items()
        if isinstance(kind, type) and issubclass(kind, models.AnomalibModule)
        if kind is not models.AnomalibModule
    }
    if model not in known:
        raise unknown_model(name, known.keys() - REFUSED.keys())
    if model in REFUSED:
        raise SpecError(
            f"detector {name}: {REFUSED[model]}; choose another, such as anomalib:Padim"
        )
    kind = known[model]
    if model in _ON_ANY_NETWORK:
        axes = {LAYER: ("r22",), **constructor_axes(kind, without=(*_PARTS, *_OF_NETWORK))}
    else:
        axes = dict(constructor_axes(kind, without=_PARTS))
    return type(f"Anomalib{model}", (AnomalibDetector,), {"name": name, "kind": kind, "axes": axes})
