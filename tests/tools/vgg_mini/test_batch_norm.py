import torch
from torchvision.models.vgg import make_layers

from tools.vgg_mini.train_vgg_mini import fold_batch_norm


def test_folded_network_computes_what_the_normalised_one_computes() -> None:
    torch.manual_seed(0)
    plan: list[str | int] = [8, 8, "M", 16]
    normalised = make_layers(plan, batch_norm=True)
    for _ in range(3):  # running statistics that are neither 0 nor 1
        normalised(3 * torch.randn(16, 3, 12, 12) + 1)
    for module in normalised:
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    normalised.eval()

    plain = make_layers(plan)
    folded = fold_batch_norm(normalised)
    plain.load_state_dict({key.removeprefix("features."): v for key, v in folded.items()})

    images = torch.randn(4, 3, 12, 12)
    torch.testing.assert_close(plain(images), normalised(images), atol=1e-5, rtol=1e-5)


def test_torch_folds_as_the_formula_says_it() -> None:
    """`s·w` and `s·(b - mean) + β` with `s = γ / sqrt(var + ε)`, in float64 and then float32."""
    torch.manual_seed(1)
    network = make_layers([64, 32], batch_norm=True)
    network(2 * torch.randn(8, 3, 16, 16) - 1)
    folded = fold_batch_norm(network)
    for position, (convolution, norm) in {0: network[:2], 2: network[3:5]}.items():
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = convolution.weight.double() * scale[:, None, None, None]
        bias = scale * (convolution.bias.double() - norm.running_mean.double()) + norm.bias
        for kind, expected in (("weight", weight), ("bias", bias)):
            found = folded[f"features.{position}.{kind}"]
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected.detach().float(), rtol=2e-7, atol=1e-9)
            assert torch.equal(found.half(), expected.detach().float().half())  # as it is stored


def test_known_scale_and_shift() -> None:
    network = make_layers([1], batch_norm=True)
    convolution, norm = network[0], network[1]
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0 - norm.eps)
    torch.nn.init.constant_(norm.weight, 3.0)
    torch.nn.init.constant_(norm.bias, 0.25)
    torch.nn.init.constant_(convolution.bias, 1.0)

    folded = fold_batch_norm(network)

    torch.testing.assert_close(folded["features.0.weight"], 1.5 * convolution.weight.detach())
    torch.testing.assert_close(folded["features.0.bias"], torch.tensor([1.5 * (1 - 2) + 0.25]))
