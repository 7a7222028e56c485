"""Schedules by their formulas, and in runs that stop and go on."""

import pytest
import torch
from torch import nn

from lvmlib.base import seed_everything
from lvmlib.bounds import elbo
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.objectives import free_bits
from lvmlib.schedules import Scheduled, cyclical, warmup
from lvmlib.training import fit


def test_the_values_of_schedules():
    assert [warmup(5, 0.2, 0.7)(step) for step in (0, 1, 5, 6)] == pytest.approx([0.2, 0.3, 0.7, 0.7])
    assert [warmup(2, 1.0, 0.5)(step) for step in range(4)] == [1.0, 0.75, 0.5, 0.5]
    assert [cyclical(4, 0.5, 0.1, 0.9)(step) for step in range(5)] == pytest.approx([0.1, 0.5, 0.9, 0.9, 0.1])
    assert [cyclical(3, 0.0)(step) for step in range(4)] == [1.0] * 4


def vae():
    seed_everything(0)
    return VAE(
        ConditionalNormal((2,), nn.Linear(6, 4)), ConditionalBernoulli((6,), nn.Linear(2, 6)), StandardNormal((2,))
    )


def train(steps, schedule=None, **checkpoint):
    model, beta, seen = vae(), Scheduled(schedule or warmup(6)), []
    x = torch.bernoulli(torch.full((40, 6), 0.4))

    def loss(model, x):
        seen.append(beta.value)
        return -elbo(model, x, beta=beta.value) - 0.1 * free_bits(model, x, floor=0.2)

    fit(model, x, loss, steps=steps, batch_size=10, lr=0.01, before_step=beta, progress=False, **checkpoint)
    return model, seen, beta


def test_annealing_resumes_exactly(tmp_path):
    whole, seen, beta = train(10)
    assert seen == pytest.approx([min(1.0, step / 6) for step in range(10)]) and beta.value == 1.0
    path = tmp_path / "run.pt"
    train(4, checkpoint=path)
    rest, later, _ = train(10, checkpoint=path, resume=True)
    assert later == seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters()))


def test_another_schedule_is_another_run(tmp_path):
    path = tmp_path / "run.pt"
    train(4, checkpoint=path)
    with pytest.raises(ValueError, match=r"Scheduled\(warmup\(6, 0.0, 1.0\)\) \(now Scheduled\(cyclical\(5"):
        train(10, cyclical(5), checkpoint=path, resume=True)
    assert Scheduled(lambda step: step).__name__ == "Scheduled(<lambda>)"
