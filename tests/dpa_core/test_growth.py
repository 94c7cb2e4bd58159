import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.growth import GrowthSchedule, Phase, final_phase, phase_at, schedule_of, stage_at

SCHEDULES = st.builds(
    lambda start, doublings, steps: GrowthSchedule(start, start * 2**doublings, steps),
    st.sampled_from([8, 16]),
    st.integers(0, 4),
    st.integers(1, 50),
)


def test_final_phase_is_full_resolution_without_blending() -> None:
    assert final_phase(AutoencoderConfig(64, 3, 4)) == Phase(resolution=64, alpha=1.0)


def test_schedule_of_the_paper() -> None:
    """From 16 to 64 px: two doublings of 2 x 20,000 steps after 20,000 steps at 16 px."""
    schedule = schedule_of(AutoencoderConfig(64, 3, 4, 8, start_resolution=16), FitConfig())
    assert schedule.growth_steps == 80_000
    assert phase_at(0, schedule) == phase_at(19_999, schedule) == Phase(16)
    assert phase_at(20_000, schedule) == Phase(32, alpha=0.0)
    assert phase_at(35_000, schedule) == Phase(32, alpha=0.75)
    assert phase_at(40_000, schedule) == phase_at(59_999, schedule) == Phase(32)
    assert phase_at(70_000, schedule) == Phase(64, alpha=0.5)
    assert phase_at(80_000, schedule) == phase_at(10**9, schedule) == Phase(64)


def test_without_growing_there_is_one_stage() -> None:
    schedule = schedule_of(AutoencoderConfig(64, 3, 4), FitConfig())
    assert schedule.growth_steps == 0
    assert {phase_at(step, schedule) for step in range(0, 10**6, 10_007)} == {Phase(64)}


@given(SCHEDULES)
def test_never_shrinks_and_ends_at_full_size(schedule: GrowthSchedule) -> None:
    phases = [phase_at(step, schedule) for step in range(schedule.growth_steps + 1)]
    # What of the finest resolution is in the image: rises in steps of 1 / steps, never falls.
    grown = [phase.resolution * (1 + phase.alpha) for phase in phases]
    assert grown == sorted(grown)
    assert phases[0] == Phase(schedule.start)
    assert phases[-1] == Phase(schedule.end)
    assert all(0 <= phase.alpha <= 1 for phase in phases)


@given(SCHEDULES)
def test_each_stage_but_the_last_has_its_steps(schedule: GrowthSchedule) -> None:
    stages = [stage_at(step, schedule) for step in range(schedule.growth_steps + 3)]
    for stage in range(schedule.last_stage):
        assert stages.count(stage) == schedule.steps
    assert stages[-3:] == [schedule.last_stage] * 3
    assert stages == sorted(stages)


@pytest.mark.parametrize(
    ("phase", "settled"), [(Phase(32), 32), (Phase(32, 0.0), 16), (Phase(32, 0.99), 16)]
)
def test_settled_resolution(phase: Phase, settled: int) -> None:
    assert phase.settled_resolution == settled
