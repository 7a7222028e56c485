import json
import math

import pytest
import torch

from lvmlib.autoregressive import FVSBN, MADE, Inpainting
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data
from lvmlib.experiments import binary_mnist, conditional_mnist, emoji, shipping, speech, text


@pytest.fixture
def few(monkeypatch):
    """A few pictures of noise in place of MNIST."""
    torch.manual_seed(0)
    splits = [
        Data(torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8), torch.arange(n) % 10, "few", "stochastic")
        for n in (64, 1, 32)
    ]
    for module in (binary_mnist, conditional_mnist):
        monkeypatch.setattr(module, "load", lambda *args, **options: splits)
    return splits


def test_a_run_from_the_command_line_to_the_record(few, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    argv = ["binary_mnist", "fvsbn", "--passes", "3", "--batch-size", "16", "--out", str(out)]
    monkeypatch.setattr("sys.argv", argv)
    binary_mnist.main()
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["steps"] == 12 and record["seed"] == 0 and "exact, 32 test images" in record["test_protocol"]
    assert not out.with_suffix(".training").exists()
    assert f"test_nll_nats {record['test_nll_nats']}" in capsys.readouterr().out
    model = binary_mnist.MODELS["fvsbn"]()
    load_checkpoint(model, out)
    nll = -model.log_prob(few[2].fixed(0).x).mean().item()  # independent of the script's own sum
    assert nll == pytest.approx(record["test_nll_nats"], abs=1e-3)


def test_bfloat16_changes_the_loss_by_rounding_only():
    model = FVSBN((1, 4, 4))
    x = torch.randint(2, (5, 1, 4, 4)).float()
    exact, rounded = -model.log_prob(x), shipping.in_bfloat16(None)(model, x)
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.01, atol=0.05)


def test_holes_are_rectangles_inside_the_picture():
    torch.manual_seed(0)
    known = conditional_mnist.random_holes(torch.zeros(500, 1, 28, 28))
    hole = 1 - known
    heights, widths = hole.amax(3).sum(2), hole.amax(2).sum(2)
    assert torch.equal(heights * widths, hole.sum((2, 3)))  # a full rectangle
    assert heights.min() == widths.min() == 7 and heights.max() == widths.max() == 28
    assert (hole.mean(0) > 0).all()  # and every pixel is missing now and then


def test_conditional_models_start_from_the_unconditional_one(monkeypatch):
    def fake(model, name):
        assert name == "gated_pixelcnn_mnist"
        torch.manual_seed(7)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.02)

    monkeypatch.setattr(conditional_mnist, "load_checkpoint", fake)
    trained = binary_mnist.gated_pixelcnn()
    fake(trained, "gated_pixelcnn_mnist")
    model = Inpainting(conditional_mnist.with_map())
    assert "gated_pixelcnn_mnist" in conditional_mnist.start_from_unconditional(model)
    x = torch.randint(2, (2, 1, 28, 28)).float()
    torch.testing.assert_close(model.model.predict(x), trained.predict(x))  # told nothing, it is the same
    assert conditional_mnist.start_from_unconditional(conditional_mnist.MODELS["multi_scale"]()) == "random weights"


def test_windows_and_crops_of_streams():
    windows = text.Windows(torch.arange(100), 10, stride=5)
    assert len(windows) == 19
    assert windows.batch(torch.tensor([0, 18])).tolist() == [list(range(10)), list(range(90, 100))]
    crops = speech.Crops(torch.arange(60).view(3, 20), 8, stride=4)
    assert len(crops) == 12  # four in each recording, none across two
    starts = crops.batch(torch.arange(12))[:, 0].tolist()
    assert starts == [0, 4, 8, 12, 20, 24, 28, 32, 40, 44, 48, 52]


def test_bits_of_text_and_codes():
    class Uniform(FVSBN):
        pass

    model = Uniform((16,), levels=128)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    bits = text.bits_per_character(model, torch.randint(128, (200,)), context=8)
    assert bits == pytest.approx(7.0, abs=1e-5)
    assert speech.code_entropy(torch.tensor([[0, 0, 1, 1]])) == pytest.approx(1.0)


def test_mirrored_pictures():
    torch.manual_seed(0)
    x = torch.randint(256, (40, 3, 4, 4), dtype=torch.uint8)
    batch = emoji.Mirrored(Data(x)).batch(torch.arange(40))
    same = (batch == x).flatten(1).all(1)
    flipped = (batch == x.flip(-1)).flatten(1).all(1)
    assert (same ^ flipped).all() and 5 < same.sum() < 35
    assert math.isclose(len(emoji.Mirrored(Data(x))), 40)


def test_a_record_without_weights(few, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(
        "sys.argv", ["x", "fvsbn", "--passes", "1", "--batch-size", "32", "--no-weights", "--out", str(out)]
    )
    binary_mnist.main()
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert json.loads(out.with_suffix(".json").read_text())["parameters"] == 784 * 784 + 784


def test_masked_weights_are_forgotten_and_change_nothing():
    model = MADE((1, 3, 3), hidden=(16, 16))
    x = torch.randint(2, (4, 1, 3, 3)).float()
    before, weight = model.log_prob(x), next(p for p in model.parameters() if p.dim() == 2)
    nonzero = weight.count_nonzero()
    shipping.forget_masked(model)
    assert torch.equal(model.log_prob(x), before) and weight.count_nonzero() < nonzero
