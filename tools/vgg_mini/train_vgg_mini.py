"""Train the bundled backbone anew: `python -m tools.vgg_mini.train_vgg_mini --help`.

Writes `vgg-mini.safetensors` (float16 weights and float32 channel statistics) and its model card.
"""

import argparse
import logging
import platform
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dpa_core.features import LayerStatistics
from dpa_core.vgg import VGG_MINI
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.backbones.statistics import compute_statistics
from hpsearch.detectors.backbones.weight_files import (
    statistics_tensors,
    weights_digest,
    write_tensors,
)
from tools.vgg_mini.classifier import Recipe, normalise, train_classifier
from tools.vgg_mini.image_folders import LabelledImages, read_image_folders
from tools.vgg_mini.model_card import TrainingRecord, model_card

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Train, fold, round, measure and write."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    train = read_image_folders(options.images / "train")
    test = read_image_folders(options.images / "test")
    log.info("%d training and %d test images", len(train.images), len(test.images))

    started = time.monotonic()
    network = train_classifier(VGG_MINI, train, recipe)
    seconds = time.monotonic() - started

    backbone = folded_backbone(network.features)
    accuracy = classification_accuracy(backbone, network.head, test)
    log.info("test accuracy %.4f after folding and rounding", accuracy)
    statistics = compute_statistics(
        backbone, train.images, VGG_MINI.layers, batch_size=256, max_images=len(train.images)
    )
    record = TrainingRecord(
        recipe=recipe,
        n_train=len(train.images),
        n_test=len(test.images),
        test_accuracy=accuracy,
        seconds=seconds,
        torch_version=torch.__version__,
        hardware=f"{platform.machine()} CPU, threads used: {torch.get_num_threads()}",
        n_parameters=sum(values.numel() for values in backbone.weights.values()),
        n_dead_channels=sum(int((mean == 0).sum()) for mean, _ in statistics.values()),
        digest=backbone.digest,
    )
    _write(options.out, backbone.weights, statistics, record)


def fold_batch_norm(features: nn.Sequential) -> dict[str, Tensor]:
    """Weights of the plain network that computes what `features` computes in evaluation mode.

    Args:
        features: modules in the order convolution, batch normalisation, ReLU, and poolings.

    Returns:
        float32 tensors under torchvision's keys of the network without batch normalisation,
        `features.N.weight` and `features.N.bias`; worked out in float64.
    """
    plain: list[nn.Module] = []
    for module in deepcopy(features).double().eval():
        if isinstance(module, nn.BatchNorm2d):
            plain[-1] = fuse_conv_bn_eval(plain[-1], module)
        else:
            plain.append(module)
    weights = nn.Sequential(*plain).state_dict()
    return {f"features.{key}": value.float() for key, value in weights.items()}


def folded_backbone(features: nn.Sequential) -> Backbone:
    """The trained convolutions without batch normalisation, rounded as the file will hold them."""
    weights = {key: value.half().float() for key, value in fold_batch_norm(features).items()}
    return Backbone(VGG_MINI, weights, None, weights_digest(weights), "training")


@torch.inference_mode()
def classification_accuracy(
    backbone: Backbone, head: nn.Linear, data: LabelledImages, *, batch_size: int = 500
) -> float:
    """Fraction of `data` that the linear layer on the backbone's deepest features gets right."""
    deepest = VGG_MINI.layers[-1]
    network = build_extractor(backbone, [deepest]).features
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    correct = 0
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        features = network(normalise(images[batch]), [deepest])[deepest]
        logits = head(features.mean(dim=(2, 3)))
        correct += int((logits.argmax(dim=1) == labels[batch]).sum())
    return correct / len(labels)


def _write(
    folder: Path, weights: Mapping[str, Tensor], statistics: LayerStatistics, record: TrainingRecord
) -> None:
    metadata = {key: str(value) for key, value in asdict(record).items() if key != "recipe"}
    metadata |= {key: str(value) for key, value in asdict(record.recipe).items()}
    tensors = {key: value.half() for key, value in weights.items()}
    path = folder / "vgg-mini.safetensors"
    write_tensors(path, tensors | statistics_tensors(statistics), metadata)
    path.with_suffix(".md").write_text(model_card(record), encoding="utf-8")
    log.info("wrote %s, %d bytes", path, path.stat().st_size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of train/<class>/* and test/<class>/*"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    return parser


if __name__ == "__main__":
    main()
