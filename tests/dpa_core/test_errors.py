import pickle

from dpa_core.errors import ConfigError, DivergedError, DpaError


def test_diverged_error_crosses_processes_with_its_step() -> None:
    copy = pickle.loads(pickle.dumps(DivergedError(3000)))
    assert (copy.step, str(copy)) == (3000, str(DivergedError(3000)))
    assert "step 3000; lower learning_rate" in str(copy)


def test_a_wrong_setting_is_a_value_error_too() -> None:
    assert issubclass(ConfigError, DpaError) and issubclass(ConfigError, ValueError)
