"""Is the embedded data set a fair exam? Trained for as long as the quickstart trains."""

import numpy as np
import pytest
import torch
from PIL import Image

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import Batches, as_input
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.fit import fit
from dpa_core.growth import final_phase
from dpa_core.loss import ReconstructionLoss
from dpa_core.score import score
from hpsearch.config.spec import read_study
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.evaluation.auroc import auroc

TRAINING = read_study("quickstart")["training"]


@pytest.fixture(scope="module")
def parts(histology):
    """Training normals, test normals and test anomalies at 32 px, as the quickstart sees them."""
    table, tiles = histology
    small = np.stack([_at_32_px(tile) for tile in tiles])
    in_test, anomalous = table["split"] == "test", table["label"] == 1
    return tuple(
        small[np.asarray(rows)]
        for rows in (~in_test & ~anomalous, in_test & ~anomalous, in_test & anomalous)
    )


def _at_32_px(tile):
    return np.asarray(Image.fromarray(tile).resize((32, 32), Image.Resampling.BILINEAR))


def dpa_auroc(parts, latent_res, layer):
    train, normals, anomalies = parts
    backbone = load_backbone("vgg-mini")
    extractor = build_extractor(backbone, [layer], {layer: backbone.statistics[layer]})
    loss = ReconstructionLoss(LossConfig({32: {layer: 1.0}}), extractor)
    settings = FitConfig(
        learning_rate=TRAINING["learning_rate"],
        batch_size=TRAINING["batch_size"],
        max_steps=TRAINING["max_steps"],
        check_every=TRAINING["max_steps"],
    )
    trained = fit(AutoencoderConfig(32, 3, 4, latent_res), settings, loss, train).autoencoder
    return auroc(score(trained, loss, normals), score(trained, loss, anomalies))


def pixel_auroc(parts, latent_res):
    """An autoencoder of the same shape and schedule that rebuilds pixels: mean |x - x̂|."""
    train, normals, anomalies = parts
    config = AutoencoderConfig(32, 3, 4, latent_res)
    network, phase = Autoencoder(config), final_phase(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=TRAINING["learning_rate"])
    size = TRAINING["batch_size"]
    batches = Batches(torch.from_numpy(train), size=32, batch_size=size, flips=False, seed=0)
    for step in range(TRAINING["max_steps"]):
        images = batches.at(step).images
        optimizer.zero_grad()
        (network(images, phase) - images).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        inputs = [as_input(torch.from_numpy(images)) for images in (normals, anomalies)]
        scores = [(network(x, phase) - x).abs().mean(dim=(1, 2, 3)).numpy() for x in inputs]
    return auroc(*scores)


@pytest.mark.slow
def test_the_choice_of_configuration_decides(parts):
    best, worst = dpa_auroc(parts, 8, "r32"), dpa_auroc(parts, 1, "r12")
    pixels = pixel_auroc(parts, 8)
    assert best >= 0.90
    assert worst <= best - 0.10
    assert pixels <= best - 0.05
