"""The scripts that train rivals for chapters 02 and 08: what they compare, how they choose, what they write down."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from lvmlib.checkpoints import SHIPPED
from lvmlib.data import Data, load
from lvmlib.experiments import autoencoder_draws, covered_digits, few_labels
from lvmlib.experiments.few_labels import vae_encoder


def pictures(n, name="few"):
    """Pictures of noise, ten classes."""
    x = torch.randint(256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
    return Data(x, torch.arange(n) % 10, name)


def test_half_planes_are_cut_by_a_line_and_leave_something_to_see():
    torch.manual_seed(0)
    seen = covered_digits.half_planes(300).view(-1, 14, 14)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    outer = (seen[:, :, :-2] == seen[:, :, 2:]) & (seen[:, :, :-2] != seen[:, :, 1:-1])  # 1 0 1 or 0 1 0 along a row
    assert not outer.any() and not torch.equal(seen[0], seen[1])
    share = seen.mean((1, 2))
    assert share.min() > 0 and share.min() < 0.1 and share.max() > 0.95
    corners = seen[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(0)  # every direction: no corner is favoured
    assert (corners - corners.mean()).abs().max() < 0.1


def test_joint_model_marginalises_by_crossing_out():
    torch.manual_seed(0)
    x, y = torch.rand(600, 196), torch.arange(600) % 10
    seen = torch.zeros(196, dtype=torch.bool)
    seen[[3, 50, 120]] = True
    scores = covered_digits.joint_model(x, y)(x[:5], seen)
    own = x[y == 7].double().numpy()
    mean, covariance = own.mean(0), np.cov(own.T) + 0.02 * np.eye(196)
    keep = seen.numpy()
    law = scipy.stats.multivariate_normal(mean[keep], covariance[np.ix_(keep, keep)])
    expected = law.logpdf(x[:5][:, seen].double().numpy()) - math.log(10)
    assert scores[:, 7].numpy() == pytest.approx(expected, rel=1e-6)


def test_metrics_of_a_classifier_that_claims_nine_tenths():
    y = torch.tensor([0, 1, 2, 3])
    log_p = torch.full((4, 10), math.log(0.1 / 9))
    log_p[range(4), [0, 1, 2, 9]] = math.log(0.9)  # three of four are right
    found = covered_digits.metrics(lambda x, seen: log_p, torch.zeros(4, 196), y)["whole"]
    nll = -(3 * math.log(0.9) + math.log(0.1 / 9)) / 4
    assert found == {"accuracy": 0.75, "label_nll_nats": pytest.approx(nll, abs=1e-4), "overconfidence": 0.15}


def test_few_labels_are_ten_of_each_class_and_another_ten_with_another_seed():
    data = pictures(500).unit()
    x, y = few_labels.few_labels(data, 0)
    assert torch.equal(y.bincount(), torch.full((10,), 10)) and len(x.flatten(1).unique(dim=0)) == 100
    assert not torch.equal(x, few_labels.few_labels(data, 1)[0])


def test_tuning_is_chosen_on_validation_images_and_leaves_the_encoder_alone(monkeypatch):
    data = pictures(200).unit()
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))
    before = encoder[1].weight.clone()
    monkeypatch.setattr(few_labels, "STEPS", (1, 3))
    x, y = few_labels.few_labels(data, 0)
    torch.manual_seed(0)
    found = few_labels.tuned(encoder, x, y, 1e-3, (data, data))
    assert set(found) == {1, 3} and torch.equal(encoder[1].weight, before)

    # validation prefers the small rate and few steps, the test set would have preferred the rest
    def fake(encoder, x, y, lr, splits):
        return {1: [1 - lr, lr], 3: [0.9 - lr, 0.9 + lr]}

    monkeypatch.setattr(few_labels, "tuned", fake)
    best = few_labels.best_tuning([encoder, encoder], data, (data, data))
    assert best == {"lr": 3e-4, "steps": 1, "tuned": [3e-4, 3e-4]}


def test_measure_tells_data_from_their_negatives_and_from_one_picture():
    data = pictures(autoencoder_draws.DRAWS).unit()

    def sure(x):
        return 20 * torch.eye(10)[torch.zeros(len(x), dtype=torch.long)]

    same = autoencoder_draws.measure(data.x, data, data, sure)
    assert same["to_nearest_training_image"] == pytest.approx(0, abs=1e-2) and same["readable"] == 1
    assert same["ink"] == pytest.approx(data.x.sum((1, 2, 3)).mean().item(), abs=0.01)
    one = autoencoder_draws.measure(data.x[:1].expand_as(data.x), data, data, lambda x: torch.zeros(len(x), 10))
    assert one["to_nearest_training_image"] < 0.01 < one["from_test_image_to_nearest"] and one["readable"] == 0


def test_draws_of_the_autoencoder_follow_its_codes():
    torch.manual_seed(0)
    model = autoencoder_draws.small_vae()
    with torch.no_grad():  # codes as wide as after training
        for parameter in list(model.pair.encoder.network.parameters())[-2:]:
            parameter.mul_(30)
    data = Data(load("mnist")[1].x, None, "valid", "stochastic")
    shown = {}
    model.pair.decoder.given = lambda z: shown.setdefault(len(shown), z) is None or torch.distributions.Normal(z, 1.0)
    model.likelihood = model.pair.decoder.given
    autoencoder_draws.autoencoder_draws(model, data, seed=0)
    with torch.no_grad():
        codes = model.posterior(data.batch(range(10_000))).mean
    for z in shown.values():
        assert z.shape == (autoencoder_draws.DRAWS, 20)
        assert torch.allclose(z.mean(0), codes.mean(0), atol=5 * codes.std().item() / 2000**0.5)
        assert torch.allclose(z.T.cov(), codes.T.cov(), atol=0.2 * codes.var().item())


def test_a_mixture_is_fitted_to_the_latents_in_use_and_the_others_are_drawn_from_the_prior(monkeypatch):
    torch.manual_seed(0)
    model = autoencoder_draws.small_vae()
    with torch.no_grad():
        for parameter in list(model.pair.encoder.network.parameters())[-2:]:
            parameter[:20].mul_(8)  # the means
            parameter[:5] = 0  # those of the first five latents
    monkeypatch.setattr(autoencoder_draws, "GaussianMixture", lambda k, **options: OneGaussian())
    data = Data(load("mnist")[1].x, None, "valid", "stochastic")
    with torch.no_grad():
        q = model.posterior(data.batch(range(10_000)))
    for noise, variance in ((False, q.mean.var(0)), (True, q.mean.var(0) + q.variance.mean(0))):
        z = autoencoder_draws.mixture_codes(model, data, seed=0, noise=noise)
        assert z.shape == (autoencoder_draws.DRAWS, 20)
        assert z[:, :5].mean(0).abs().max() < 0.12 and (z[:, :5].std(0) - 1).abs().max() < 0.08
        assert torch.allclose(z[:, 5:].var(0), variance[5:], rtol=0.2)
        assert torch.allclose(z[:, 5:].mean(0), q.mean[:, 5:].mean(0), atol=0.2 * variance[5:].max().sqrt().item())


def test_any_stretch_of_the_draws_has_all_components_of_the_mixture(monkeypatch):
    class InOrder(OneGaussian):
        def sample(self, n):
            codes, which = super().sample(n)
            return np.sort(codes, 0), which  # as scikit-learn's come, one component after the other

    torch.manual_seed(0)
    model = autoencoder_draws.small_vae()
    with torch.no_grad():
        list(model.pair.encoder.network.parameters())[-2][:20].mul_(8)  # all latents are in use
    monkeypatch.setattr(autoencoder_draws, "GaussianMixture", lambda k, **options: InOrder())
    data = Data(load("mnist")[1].x, None, "valid", "stochastic")
    z = autoencoder_draws.mixture_codes(model, data, seed=0, noise=True)
    assert ((z[:200].mean(0) - z.mean(0)).abs() < 0.4 * z.std(0)).all()


@pytest.mark.parametrize("module", [covered_digits, autoencoder_draws])
def test_from_the_command_line_to_the_record(module, tmp_path, monkeypatch, capsys):
    splits = [pictures(n) for n in (10_000, 10, 2000)]
    binary = [Data(s.x, s.y, s.name, "stochastic") for s in splits]
    monkeypatch.setattr(module, "load", lambda name, binarize=None: binary if binarize else splits)
    monkeypatch.setattr("sys.argv", ["x", "--steps", "3", "--seeds", "2", "--out", str(tmp_path / "record.json")])
    if module is covered_digits:
        monkeypatch.setattr(module, "on_covered_digits", lambda x, y, steps: lambda x, seen: torch.zeros(len(x), 10))
    else:
        monkeypatch.setattr(module, "judge", lambda train: lambda x: torch.zeros(len(x), 10))
        monkeypatch.setattr(module, "GaussianMixture", lambda k, **options: OneGaussian())
    module.main()
    record = json.loads((tmp_path / "record.json").read_text())
    rows = record["whole_digits"] if module is covered_digits else record["runs"]["3"]
    assert len(rows) == 2 == record["seeds"] and rows[0] != rows[1] and record["commit"]
    if module is autoencoder_draws:
        assert set(record["longer_run"]) == {"VAE, prior", "VAE, mixture of 50", "VAE, reconstructions"}
        monkeypatch.setattr(module, "small_vae", None)  # calling it would fail
        module.main()
        assert json.loads((tmp_path / "record.json").read_text())["runs"] == record["runs"]


class OneGaussian:
    """What the script asks of scikit-learn's mixture."""

    def fit(self, x):
        self.x = x
        return self

    def sample(self, n):
        return self.x[np.arange(n) % len(self.x)], None


def test_shipped_records_have_a_value_for_each_seed_and_draw():
    covered, labels, draws = (
        json.loads((SHIPPED / f"{name}.json").read_text("utf-8"))
        for name in ("covered_digits", "few_labels", "autoencoder_draws")
    )
    assert len(covered["whole_digits"]) == len(covered["covered_digits"]) == covered["seeds"] >= 3
    assert all(set(run) == set(covered_digits.COVERS) for run in covered["covered_digits"])
    assert all(len(row["tuned"]) == labels["draws"] >= 5 for row in labels["rows"].values())
    assert all(len(runs) == draws["seeds"] >= 3 for runs in draws["runs"].values())
    for record in (covered, labels, draws):
        assert record["command"].startswith("python -m lvmlib.experiments.")


def test_shipped_encoder_is_as_good_as_the_record_says():
    record = json.loads((SHIPPED / "few_labels.json").read_text("utf-8"))
    images, _, test = (split.unit() for split in load("mnist"))
    expected = record["rows"]["VAE, shipped"]["frozen"][0]
    assert few_labels.frozen(vae_encoder(None), images, test, seed=0) == pytest.approx(expected, abs=2e-3)
