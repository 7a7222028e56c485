import json

import pytest
import torch

from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.experiments import flow_gallery as fg
from lvmlib.flows import ContinuousFlow, ffjord
from lvmlib.toys import toy


def test_a_stream_never_gives_a_point_twice():
    stream = fg.Stream(toy("rings"))
    torch.manual_seed(0)
    one, other = stream.batch(torch.arange(50)), stream.batch(torch.arange(50))
    assert one.shape == (50, 2) and not torch.equal(one, other)
    assert len(stream) >= fg.BATCH_SIZE


def test_what_a_flow_loses_is_the_divergence():
    """Between two Gaussians it has a closed form."""

    class Wide(torch.nn.Module):
        def log_prob(self, x):
            return torch.distributions.Normal(0.0, 2.0).log_prob(x).sum(1)

    class Narrow(Wide):
        def sample(self, n):
            return torch.randn(n, 2)

        def log_prob(self, x):
            return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    found = fg.loss_against(Narrow(), Wide(), 50_000, seed=0)
    exact = 2 * (torch.tensor(2.0).log() + 1 / 8 - 1 / 2).item()
    assert found["kl_nats"] == pytest.approx(exact, abs=4 * found["standard_error"])
    assert found["standard_error"] < 0.01
    assert found["test_nll_nats"] == pytest.approx(1 + torch.tensor(6.2832).log().item() + exact, abs=0.03)


def test_training_takes_fixed_steps_and_what_is_tested_does_not():
    layer = fg.in_fixed_steps(ffjord((2,))).layers[0]
    assert isinstance(layer, ContinuousFlow) and layer.solver["method"] == "rk4"
    flow = fg.trained(lambda: ffjord((2,), 1, (4,)), toy("rings"), 1e-3, steps=2, seed=0)
    assert flow.layers[0].solver["method"] == "dopri5"


def test_an_interrupted_run_goes_on_and_leaves_weights_and_record(tmp_path, monkeypatch):
    small = {"NICE": lambda: fg.nice((2,), 2, (4,)), "MAF": lambda: fg.maf((2,), 1, (4,))}
    monkeypatch.setattr(fg, "FLOWS", small)
    monkeypatch.setattr(fg, "DENSITIES", ("rings",))
    out, measured = tmp_path / "g", []
    monkeypatch.setattr("sys.argv", ["x", "--steps", "3", "--out", str(out)])
    measure = fg.measure

    def breaks(build, density, steps, seed):
        if len(measured) == 1:
            measured.append(1)
            raise KeyboardInterrupt
        measured.append(1)
        return measure(build, density, steps, seed)

    monkeypatch.setattr(fg, "measure", breaks)
    with pytest.raises(KeyboardInterrupt):
        fg.main()
    fg.main()
    assert len(measured) == 3  # the first flow was not trained again
    models = fg.gallery()
    record = load_checkpoint(models, out)
    assert list(record["found"]["rings"]) == ["NICE", "MAF"] and not (tmp_path / "g.parts").exists()
    again = fg.loss_against(toy("rings"), models["rings"]["NICE"], 20_000, seed=2)
    assert again["kl_nats"] == pytest.approx(record["found"]["rings"]["NICE"]["kl_nats"], abs=1e-3)


def test_the_shipped_flows_lose_what_their_record_says():
    models = fg.gallery()
    record = load_checkpoint(models, "flow_gallery")
    assert list(record["found"]) == list(fg.DENSITIES)
    for density in fg.DENSITIES:
        for name, told in record["found"][density].items():
            n = 500 if name == "FFJORD" else 2000
            found = fg.loss_against(toy(density), models[density][name], n, seed=9)
            assert found["kl_nats"] == pytest.approx(told["kl_nats"], abs=5 * found["standard_error"]), name
            assert abs(told["kl_nats"] - told["kl_before_rounding"]) < 0.02  # two bytes are enough


def test_in_the_shipped_record_splines_beat_straight_elements_and_shifts_come_last():
    found = json.loads((SHIPPED / "flow_gallery.json").read_text("utf-8"))["found"]
    for density, row in found.items():
        assert all(len(one["kl_of_seeds"]) == (1 if name == "FFJORD" else fg.SEEDS) for name, one in row.items())
        assert row["Spline"]["kl_nats"] < min(row["RealNVP"]["kl_nats"], row["MAF"]["kl_nats"]), density
        assert row["NICE"]["kl_nats"] == max(one["kl_nats"] for one in row.values()), density
