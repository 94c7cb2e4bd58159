"""Exceptions of the training core.

DpaError
├── ConfigError        a setting that the network or the training cannot have (also a ValueError)
├── WeightsError       backbone weights that do not fit the architecture or are not finite
├── DivergedError      the training loss became NaN or infinite
├── CheckpointError    a checkpoint that is damaged or belongs to another training
└── TensorFileError    a file of tensors that are not what they should be (also a SafetensorError)
"""

from safetensors import SafetensorError


class DpaError(Exception):
    """Root of every error that `dpa_core` raises on purpose."""


class ConfigError(DpaError, ValueError):
    """A setting breaks a rule; the message gives the rule and the value received."""


class WeightsError(DpaError):
    """Backbone weights miss a layer, have another shape, or hold values that are not finite."""


class DivergedError(DpaError):
    """The training loss is no longer finite."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"training diverged: the loss is not finite at step {step}; lower learning_rate"
        )
        self.step = step

    def __reduce__(self) -> tuple[type["DivergedError"], tuple[int]]:
        # An exception crosses process boundaries by its constructor's arguments.
        return type(self), (self.step,)


class CheckpointError(DpaError):
    """A checkpoint cannot be read, or was written by a training with another configuration."""


class TensorFileError(DpaError, SafetensorError):
    """A file lacks a tensor, or has one of another shape or type or with values not finite."""
