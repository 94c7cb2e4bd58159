from dpa_core.config import AutoencoderConfig
from dpa_core.growth import Phase, final_phase


def test_final_phase_is_full_resolution_without_blending() -> None:
    assert final_phase(AutoencoderConfig(64, 3, 4)) == Phase(resolution=64, alpha=1.0)
