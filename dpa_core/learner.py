"""A network with its optimiser, which starts afresh in each stage of growing."""

import torch
from torch import Tensor, nn


class Learner:
    """A network on its device, trained by Adam.

    Args:
        network: what is trained.
        learning_rate: of Adam.
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self.network = network
        self.learning_rate = learning_rate
        self.optimizer = self._new_optimizer()

    def start_afresh(self) -> None:
        """Forget the optimiser's moments; the weights stay."""
        self.optimizer = self._new_optimizer()

    def descend(self, loss: Tensor) -> None:
        """One step down the gradient of a scalar loss."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments, by name."""
        found = {f"weights.{key}": value for key, value in self.network.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up `tensors` exactly where they were."""
        self.network.load_state_dict(with_prefix(tensors, "weights."))
        parameters = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix(tensors, "optimizer.").items():
            number, name = key.split(".")
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                # The fused optimiser wants the moments in the parameter's own memory layout.
                value = torch.empty_like(parameter).copy_(value)
            moments.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, fused=True)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, without it."""
    return {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
