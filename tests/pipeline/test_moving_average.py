import torch
from torch import nn

from pipeline.config import TrainConfig
from pipeline.moving_average import moving_average

from .trainings import network


def test_the_average_is_the_one_computed_by_hand() -> None:
    model = network()
    ema = moving_average(model, TrainConfig(ema_decay=0.8))
    expected = {name: value.double() for name, value in model.state_dict().items()}
    decays = [min(0.8, 1 - (1 + step) ** -0.75) for step in range(30)]
    assert decays[:2] == [0.0, 1 - 2**-0.75]
    assert decays.index(0.8) < 10  # it warms up, and is through with that
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step, decay in enumerate(decays):
            for value in model.state_dict().values():
                value.add_(torch.randn(value.shape)) if value.is_floating_point() else value.add_(1)
            ema.update(model, step + 1)
            now = model.state_dict()
            expected = {name: decay * value + (1 - decay) * now[name].double() for name, value in expected.items()}
    for name, value in ema.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(value, model.state_dict()[name])  # a count of batches has no average


def test_without_a_decay_there_is_none() -> None:
    assert moving_average(nn.Linear(1, 1), TrainConfig()) is None
