import json

import pytest
import torch

from lvmlib.base import bits_per_dim
from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.data import Data
from lvmlib.experiments import flow_images
from lvmlib.flows import glow


@pytest.fixture
def few(monkeypatch):
    """A few pictures of noise in place of MNIST, and a small model."""
    torch.manual_seed(0)
    splits = [Data(torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8), None, "few") for n in (256, 1, 60)]
    monkeypatch.setattr(flow_images, "load", lambda *args, **options: splits)
    small = lambda: flow_images.of_pictures(glow(flow_images.DIGITS, scales=1, steps=1, channels=4))  # noqa: E731
    monkeypatch.setitem(flow_images.MODELS, "glow_digits", small)
    return splits


def test_small_digits_are_rounded_means_of_four():
    x = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    x[0, 0, :2, :4] = torch.tensor([[255, 254, 1, 0], [255, 255, 1, 1]], dtype=torch.uint8)
    small = flow_images.small_digits(Data(x))
    assert small.x.dtype == torch.uint8 and small.x.shape == (1, 1, 14, 14)
    assert small.x[0, 0, 0, :3].tolist() == [255, 1, 0]  # means 254.75 and 0.75


@pytest.mark.parametrize("noise", [None, 4])
def test_pictures_are_modelled_as_whole_numbers(noise):
    shape = (1, 4, 4)
    chosen = None if noise is None else flow_images.chosen_noise(shape, noise)
    model = flow_images.of_pictures(glow(shape, scales=1, steps=1, channels=4), chosen)
    assert model.is_bound
    draws = model.sample(3)
    assert draws.shape == (3, *shape) and torch.equal(draws, draws.round())
    assert model.log_prob(torch.randint(256, (5, *shape))).isfinite().all()


def test_a_run_from_the_command_line_to_the_record(few, tmp_path, monkeypatch):
    out = tmp_path / "run"
    argv = ["x", "glow_digits", "--steps", "4", "--batch-size", "64", "--out", str(out)]
    monkeypatch.setattr("sys.argv", argv)
    flow_images.main()
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["steps"] == 4 and "60 test pictures" in record["test_protocol"]
    model = flow_images.MODELS["glow_digits"]()
    load_checkpoint(model, out)
    assert model.layers[3].log_scale.abs().sum() > 0  # ActNorm had its start
    x = flow_images.small_digits(few[2]).x
    bits = bits_per_dim(model.log_prob(x), flow_images.DIGITS)
    assert bits.mean().item() == pytest.approx(record["test_bits_per_dim"], abs=0.1)


@pytest.mark.parametrize("kind", ["uniform", "variational"])
def test_more_draws_tighten_the_recorded_bound(kind):
    told = json.loads((SHIPPED / f"flow_glow_{kind}.json").read_text("utf-8"))
    key = "test_bits_per_dim_first_500"
    assert told[f"{key}_16_draws"] < told[key]


def test_a_glow_that_is_told_the_class_starts_as_the_one_that_is_not(few):
    labels = torch.arange(60) % 10
    x = flow_images.small_digits(few[2]).x[:20]
    plain, told = (flow_images.of_pictures(glow(flow_images.DIGITS, 1, 2, 4, context=c)) for c in (None, 10))
    torch.nn.init.normal_(next(plain.layers[3].parameters()))
    flow_images.start_from_unconditional(told, plain)
    context = flow_images.classes(Data(few[2].x, labels))
    assert context.sum(1).eq(1).all() and context[13].argmax() == 3
    torch.manual_seed(0)
    expected = plain.log_prob(x)
    torch.manual_seed(0)
    torch.testing.assert_close(told.log_prob(x, context[:20]), expected)
