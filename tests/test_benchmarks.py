"""The benchmarks measure what they say: their counters against closed forms, their rivals against ours."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

common = pytest.importorskip("benchmarks.common", reason="the benchmarks are not shipped with the library")

from benchmarks import quality, three_ways, training_step  # noqa: E402
from benchmarks.models import MODELS  # noqa: E402
from lvmlib.autoregressive import MADE, PixelCNN  # noqa: E402
from lvmlib.experiments import binary_mnist  # noqa: E402

RESULTS = {path.stem: json.loads(path.read_text("utf-8")) for path in common.RESULTS.glob("*.json")}
SCRIPTS = ["three_ways", "training_step", "sampling", "cost_per_position", "quality", "compression"]


# --- Turns and records ------------------------------------------------------------------------------------------------


def test_runs_take_turns_after_one_to_warm_up():
    order: list[str] = []
    runs = common.take_turns({name: lambda name=name: order.append(name) for name in "ab"}, repeats=3)
    assert "".join(order) == "abababab"
    assert [len(seconds) for seconds in runs.values()] == [3, 3]


def test_what_takes_long_runs_less_often(monkeypatch):
    looks = iter(range(0, 10_000, 30))  # every look at the clock is 30 s after the one before
    monkeypatch.setattr(common, "clock", lambda: next(looks))
    count: list[int] = []
    runs = common.take_turns({"slow": lambda: count.append(1)}, repeats=5, least=3, enough=60)
    assert len(count) == len(runs["slow"]) == 3  # the first one counts too
    runs = common.take_turns({"slow": lambda: None}, repeats=5, least=3, enough=1000)
    assert len(runs["slow"]) == 5


def test_a_record_says_what_where_and_when(tmp_path, capsys):
    common.write(tmp_path, "topic", "A title", 0.0, ["torch"], rows=[{"a": 1}])
    record = json.loads((tmp_path / "topic.json").read_text())
    assert record["rows"] == [{"a": 1}] and record["packages"] == {"torch": torch.__version__}
    for key in ("command", "commit", "hardware", "threads", "torch", "date", "minutes", "load_average"):
        assert key in record
    assert [path.name for path in tmp_path.iterdir()] == ["topic.json"]


def test_examples():
    for module in (common, quality):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


# --- Three ways: what is counted, against formulas --------------------------------------------------------------------

L, C = 32, three_ways.WIDTH
LAYERS = 5  # of dilated convolution: log2 of 32
EXPECTED = {  # multiply-adds, depth, reach
    "recurrence": (L * 6 * C * C, L, L - 1),  # three gates, each a map of the input and one of the state
    "convolution": (L * 3 * C * C, 1, 2),
    "dilated convolution": (L * LAYERS * 2 * C * C, LAYERS, L - 1),
    "self-attention": (L * 4 * C * C + 2 * L * L * C, 4, L - 1),  # q, k, v and the output; scores and weighted sum
    "fused self-attention": (L * 4 * C * C + 2 * L * L * C, 4, L - 1),
}


@pytest.mark.parametrize("way", three_ways.WAYS)
def test_work_depth_and_reach_have_their_closed_forms(way):
    torch.manual_seed(0)
    net, x = three_ways.WAYS[way](L), torch.randn(2, L, C)
    found = three_ways.multiply_adds(net, x[:1]), three_ways.depth(net, x[:1]), three_ways.reach(net, x)
    assert found == EXPECTED[way]
    later = x.clone()
    later[:, L // 2 :] += 1
    torch.testing.assert_close(net(later)[:, : L // 2], net(x)[:, : L // 2])  # causal, or they are no rivals


def test_memory_of_attention_grows_with_the_square_only_where_it_is_written_out():
    kept = {}
    for way in ("self-attention", "fused self-attention", "recurrence"):
        for length in (256, 512):
            kept[way, length] = three_ways.kept_bytes(three_ways.WAYS[way](length), torch.randn(1, length, C))
    weights = 4 * 4 * 512 * 512  # four heads of 512 x 512 in four bytes
    assert kept["self-attention", 512] > weights > kept["fused self-attention", 512]
    assert kept["self-attention", 512] / kept["self-attention", 256] > 3
    for way in ("fused self-attention", "recurrence"):
        assert kept[way, 512] / kept[way, 256] == pytest.approx(2, rel=0.05)


def test_both_attentions_are_the_same_map():
    torch.manual_seed(0)
    plain, fused = (three_ways.SelfAttention(C, fused=fused) for fused in (False, True))
    fused.load_state_dict(plain.state_dict())
    x = torch.randn(2, L, C)
    torch.testing.assert_close(plain(x), fused(x))


# --- Training: plain PyTorch computes what ours computes --------------------------------------------------------------


def test_plain_made_is_our_made():
    torch.manual_seed(0)
    ours, plain = MADE((1, 4, 4), hidden=(20, 20)), training_step.plain_made(16, 20)
    theirs = [layer for layer in plain if isinstance(layer, torch.nn.Linear)]
    for layer, other in zip([*ours.net.layers, ours.net.output], theirs, strict=True):
        assert torch.equal(layer.mask, other.mask)
        other.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randint(2, (5, 1, 4, 4)).float()
    torch.testing.assert_close(training_step.our_loss(ours, x), training_step.plain_loss(plain, x))


def test_plain_pixelcnn_is_our_pixelcnn():
    torch.manual_seed(0)
    ours, plain = PixelCNN((1, 6, 6), channels=4, layers=2), training_step.plain_pixelcnn(4, 2)
    blocks = [conv for row in zip(ours.reduce, ours.spread, ours.expand) for conv in row]
    theirs = [module for module in plain.modules() if isinstance(module, torch.nn.Conv2d)]
    for conv, other in zip([ours.first, *blocks, *ours.head, ours.last], theirs, strict=True):
        with torch.no_grad():
            other.weight[:, :, : conv.weight.shape[2]] = conv.weight  # ours has no rows below the centre
            other.bias.copy_(conv.bias)
    x = torch.randint(2, (5, 1, 6, 6)).float()
    torch.testing.assert_close(training_step.our_loss(ours, x), training_step.plain_loss(plain, x))


# --- Models and samples -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in MODELS if name != "GatedPixelCNN"])  # it is timed at PixelCNN's size
def test_the_models_that_are_timed_are_those_that_are_shipped(name):
    others = {"CausalTransformer": "transformer", "PatchTransformer": "patch_transformer"}
    key = others.get(name, name.lower())
    ours, theirs = MODELS[name](28), binary_mnist.MODELS[key]()
    assert type(ours).__name__ == type(theirs).__name__ == name
    assert str(ours) == str(theirs)  # layers and their sizes
    shapes, shipped = ({k: v.shape for k, v in model.state_dict().items()} for model in (ours, theirs))
    assert shapes == shipped


def test_neighbours_vote():
    torch.manual_seed(0)
    a, b = torch.randint(2, (2, 400, 30)).float()
    for share in quality.votes(a, b):
        assert share == pytest.approx(0.5, abs=0.1)  # one distribution, full of ties
    assert quality.votes(a, b + 100) == (1, 1)
    samples, real = quality.votes(b + 0.01, b)  # samples that copy: no neighbour is of the own side
    assert samples < 0.1 and real < 0.1


# --- What is stored, and what it claims -------------------------------------------------------------------------------

LEAST = {"5 x MADE": 25, "PixelCNN": 20, "GatedPixelCNN": 20, "CausalTransformer": 20, "WaveNet": 20}


@pytest.mark.parametrize("topic", RESULTS)
def test_stored_results_say_how_they_came_about(topic):
    record = RESULTS[topic]
    assert record["topic"] == topic and "--quick" not in record["command"]
    script = record["command"].split()[2]
    assert script == f"benchmarks.{'sampling' if topic == 'speedup' else topic}"
    assert record["rows"] and len(record["commit"].rstrip("+")) == 40


@pytest.mark.parametrize("row", RESULTS.get("sampling", {"rows": []})["rows"], ids=lambda row: row["model"])
def test_the_cache_is_as_fast_as_promised(row):
    assert row.get("ratio", 2) > LEAST.get(row["model"], 1)
    for rival in row["rivals"]:
        assert rival["ratio"] > (25 if row["model"] == "5 x MADE" else 1)


@pytest.mark.parametrize("row", RESULTS.get("training_step", {"rows": []})["rows"], ids=lambda row: row["model"])
def test_training_costs_what_plain_pytorch_costs(row):
    """At most 1.05 times as much, and measured well enough to tell a twentieth."""
    error = pytest.importorskip(
        "book._ext.results.benchmarks", reason="the book's tools are not installed"
    ).ratio_error(row)
    assert row["ratio"] <= 1.05 and 2 * error < 0.05


@pytest.mark.parametrize("model", ["RNN", "WaveNet"])
def test_a_position_costs_the_same_early_and_late(model):
    rows = [row for row in RESULTS.get("cost_per_position", {"rows": []})["rows"] if row["model"] == model]
    if not rows:
        pytest.skip("not measured yet")
    cost = torch.tensor(rows[0]["cached_us"])
    assert cost[-196:].median() / cost[:196].median() == pytest.approx(1, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_runs(script):
    rivals = ROOT / ".venv" / "rivals"
    if script == "sampling" and not rivals.exists():
        pytest.skip("`make benchmarks` installs the other libraries")
    run = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", "--quick", "--repeats", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(rivals)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    start = run.stdout.index('{\n "topic"')
    record, _ = json.JSONDecoder().raw_decode(run.stdout[start:])  # sampling prints a second one after it
    assert record["topic"] == script and record["rows"]
