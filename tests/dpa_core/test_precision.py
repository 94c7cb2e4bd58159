import numpy as np
import pytest
import torch

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig
from dpa_core.features import full_float32
from dpa_core.loss import ReconstructionLoss
from dpa_core.score import score


def test_the_setting_is_as_before_afterwards_also_on_an_error() -> None:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    with pytest.raises(ValueError, match="broken"), full_float32():
        assert convolutions.fp32_precision == "ieee"
        raise ValueError("broken")
    assert convolutions.fp32_precision == before


def test_scores_are_computed_without_tf32(
    loss: ReconstructionLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    features = loss.features

    def watched(images: torch.Tensor) -> dict[str, torch.Tensor]:
        found.append(torch.backends.cudnn.conv.fp32_precision)
        return features(images)

    monkeypatch.setattr(loss, "features", watched)
    autoencoder = Autoencoder(AutoencoderConfig(image_size=16, channels=1, latent_dim=2))
    score(autoencoder, loss, np.zeros((2, 16, 16, 1), np.uint8))
    assert set(found) == {"ieee"}
