"""The benchmarks measure what they say: their counters against closed forms, their rivals against ours."""

from __future__ import annotations

import doctest
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

common = pytest.importorskip("benchmarks.common", reason="the benchmarks are not shipped with the library")

from benchmarks import (  # noqa: E402
    determinant,
    flow_costs,
    likelihood,
    plain,
    plain_transformer,
    plain_vae,
    prototypes,
    quality,
    rivals,
    sampling,
    three_ways,
    training_step,
)
from benchmarks.models import MODELS  # noqa: E402
from lvmlib import bounds  # noqa: E402
from lvmlib.autoregressive import MADE, CausalTransformer, PixelCNN  # noqa: E402
from lvmlib.experiments import binary_mnist  # noqa: E402
from lvmlib.experiments.records import BENCHMARKS  # noqa: E402
from lvmlib.experiments.vae_mnist import vae_mnist  # noqa: E402

RESULTS = {path.stem: json.loads(path.read_text("utf-8")) for path in BENCHMARKS.glob("*.json")}
SCRIPTS = [
    "three_ways",
    "training_step",
    "flow_step",
    "flow_costs",
    "determinant",
    "likelihood",
    "sampling",
    "completion",
    "cost_per_position",
    "quality",
    "compression",
]
RIVALS = ROOT / ".venv" / "rivals"


# --- Turns and records ------------------------------------------------------------------------------------------------


def test_runs_take_turns_after_one_to_warm_up():
    order: list[str] = []
    runs = common.take_turns({name: lambda name=name: order.append(name) for name in "ab"}, repeats=3)
    assert "".join(order) == "abababab"
    assert [len(seconds) for seconds in runs.values()] == [3, 3]


def ticking(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every look at the clock comes so many seconds after the one before."""
    looks = itertools.count()
    monkeypatch.setattr(common, "clock", lambda: seconds * next(looks))


def test_what_takes_long_runs_three_times_beside_the_run_that_warms_up(monkeypatch):
    ticking(monkeypatch, 30)
    count: list[str] = []
    tasks = {"slow": lambda: count.append("whole")}
    runs = common.take_turns(tasks, repeats=5, enough=45)
    assert runs["slow"] == [30, 30, 30] and len(count) == 4
    runs = common.take_turns(tasks, repeats=5, enough=1000)
    assert len(runs["slow"]) == 5
    count.clear()
    common.take_turns(tasks, repeats=3, enough=60, warm={"slow": lambda: count.append("a little")})
    assert count == ["a little", *3 * ["whole"]]


def test_what_takes_short_is_repeated_within_a_run(monkeypatch):
    ticking(monkeypatch, 0.25)
    count: list[int] = []
    runs = common.take_turns({"short": lambda: count.append(1)}, repeats=3, shortest=1.0)
    assert len(count) == 1 + 3 * 4 and runs["short"] == [0.0625] * 3  # a quarter of a second for four


def test_a_record_says_what_where_and_when(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.0, 0.0, 0.0))
    common.write(tmp_path, "topic", "A title", 0.0, ["torch"], rows=[{"a": 1}])
    record = json.loads((tmp_path / "topic.json").read_text())
    version = record["packages"]["torch"].split("+")[0]  # CUDA builds call themselves 2.3.0 here and 2.3.0+cu121 there
    assert record["rows"] == [{"a": 1}] and version == torch.__version__.split("+")[0]
    for key in ("command", "commit", "hardware", "processor", "threads", "torch", "date", "minutes", "load_average"):
        assert key in record
    assert [path.name for path in tmp_path.iterdir()] == ["topic.json"]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux names its processor there")
def test_the_processor_is_named_by_its_model():
    said = subprocess.run(["lscpu"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    models = [line.split(":")[1].strip() for line in said.stdout.splitlines() if line.startswith("Model name")]
    if not models:
        pytest.skip("lscpu does not name it")
    assert common.processor().startswith(models[0])


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(1.4, 1, False), (1.6, 1, True), (2.4, 2, False), (2.6, 2, True)]
)
def test_a_busy_machine_is_refused(load, threads, busy, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    if busy:
        with pytest.raises(SystemExit, match=f"load average is {load:.2f}, above {threads}.5.*No result was written"):
            common.refuse_if_busy(threads)
    else:
        common.refuse_if_busy(threads)


def test_nothing_is_written_at_high_load(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with pytest.raises(SystemExit, match="load average"):
        common.write(tmp_path, "topic", "A title", 0.0, rows=[])
    assert list(tmp_path.iterdir()) == []
    common.write(None, "topic", "A title", 0.0, rows=[])  # only shown
    assert '"topic": "topic"' in capsys.readouterr().out


@pytest.fixture
def command(monkeypatch):
    """Read a command line at some load."""

    def options(load: float, *words: str):
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        return common.options("What it does.")

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield options
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def test_a_script_does_not_begin_at_high_load(command, tmp_path):
    with pytest.raises(SystemExit, match=r"load average is 3\.00"):
        command(3.0, "--out", str(tmp_path))
    assert command(3.0, "--quick").out is None
    assert command(1.0, "--out", str(tmp_path)).out == tmp_path


def test_a_result_needs_three_runs(command, capsys):
    with pytest.raises(SystemExit):
        command(1.0, "--repeats", "2")
    assert "3 runs at least" in capsys.readouterr().err
    assert command(1.0, "--repeats", "1", "--quick").repeats == 1


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
    ours, theirs = MADE((1, 4, 4), hidden=(20, 20)), plain.plain_made(16, 20)
    layers = [layer for layer in theirs if isinstance(layer, torch.nn.Linear)]
    for layer, other in zip([*ours.net.layers, ours.net.output], layers, strict=True):
        assert torch.equal(layer.mask, other.mask)
        other.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randint(2, (5, 1, 4, 4)).float()
    torch.testing.assert_close(training_step.our_nll(ours, x), plain.nll(theirs, x))


def test_plain_pixelcnn_is_our_pixelcnn():
    torch.manual_seed(0)
    ours, theirs = PixelCNN((1, 6, 6), channels=4, layers=2), plain.plain_pixelcnn(4, 2)
    blocks = [conv for row in zip(ours.reduce, ours.spread, ours.expand) for conv in row]
    convs = [module for module in theirs.modules() if isinstance(module, torch.nn.Conv2d)]
    for conv, other in zip([ours.first, *blocks, *ours.head, ours.last], convs, strict=True):
        with torch.no_grad():
            other.weight[:, :, : conv.weight.shape[2]] = conv.weight  # ours has no rows below the centre
            other.bias.copy_(conv.bias)
    x = torch.randint(2, (5, 1, 6, 6)).float()
    torch.testing.assert_close(training_step.our_nll(ours, x), plain.nll(theirs, x))


def both_vaes():
    torch.manual_seed(0)
    ours = vae_mnist()
    theirs = training_step.same_start(plain_vae.PlainVAE(), ours)
    return ours, theirs, torch.randint(2, (6, 1, 28, 28)).float()


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_plain_bounds_are_our_bounds(bound):
    """Same weights, same noise: same value and same gradients, which are computed in different ways."""
    ours, theirs, x = both_vaes()
    k = () if bound == "elbo" else (5,)
    values = []
    for module, model in ((bounds, ours), (plain_vae, theirs)):
        torch.manual_seed(1)
        values.append(getattr(module, bound)(model, x, *k))
        values[-1].mean().backward()
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-3)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rows", [4, 7, 1000])
def test_plain_likelihood_is_one_large_importance_weighted_bound(rows):
    _, theirs, x = both_vaes()
    torch.nn.init.zeros_(theirs.decoder[-1].weight)  # pixels do not depend on z: every estimate is exact but for q
    with torch.no_grad():
        theirs.encoder[-1].weight.zero_()
        theirs.encoder[-1].bias.zero_()  # and q is the prior
        exact = -torch.nn.functional.binary_cross_entropy_with_logits(
            theirs.decoder[-1].bias.expand(6, -1), x.flatten(1), reduction="none"
        ).sum(1)
    torch.testing.assert_close(plain_vae.log_likelihood(theirs, x, k=10, rows=rows), exact, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_plain_likelihood_puts_its_pieces_together():
    """Three pieces of four draws each are three bounds whose mean probability counts."""
    _, theirs, x = both_vaes()
    torch.manual_seed(2)
    found = plain_vae.log_likelihood(theirs, x, k=12, rows=24)
    torch.manual_seed(2)
    pieces = torch.stack([plain_vae.iwae(theirs, x, 4) for _ in range(3)]).double()
    torch.testing.assert_close(found.double(), pieces.exp().mean(0).log(), rtol=1e-6, atol=1e-4)


def test_memory_is_counted():
    """Fifty draws of a hundred pictures by hand: pieces of a thousand rows of 784 floats, and not all five thousand."""
    used = likelihood.memory("plain", 100, 50)
    piece = 1000 * 784 * 4 / 2**20
    assert 0.9 * piece < used < 4 * 5 * piece


def test_the_plain_transformer_is_our_transformer():
    torch.manual_seed(0)
    ours = CausalTransformer((1, 4, 4), channels=16, heads=2, layers=2, positions="axes").eval()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.1 * torch.randn_like(p))  # or most of it begins near 0
        theirs = plain_transformer.same_weights(ours)
        x = torch.randint(2, (5, 1, 4, 4)).float()
        walked, logits = theirs.sample(5, x.flatten(1))
        torch.testing.assert_close(logits, ours.predict(x).flatten(1))
    assert torch.equal(walked, x.flatten(1))
    drawn, _ = theirs.sample(2000)
    torch.testing.assert_close(drawn.mean(0), ours.sample(2000).flatten(1).mean(0), rtol=0, atol=0.08)


@pytest.mark.parametrize("build", [prototypes.realnvp, prototypes.maf])
def test_prototype_flows_are_bijections_with_their_log_determinant(build):
    torch.manual_seed(0)
    flow = build(6, layers=3, hidden=(16, 16)).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    z, paid = x, torch.zeros(4, dtype=torch.float64)
    for layer in flow.layers:
        z, log_det = layer(z)
        paid = paid + log_det

    def noise(x):
        for layer in flow.layers:
            x = layer(x[None])[0][0]
        return x

    for row, log_det in zip(x, paid):
        torch.testing.assert_close(torch.autograd.functional.jacobian(noise, row).slogdet()[1], log_det)
    back, undone = z, torch.zeros(4, dtype=torch.float64)
    for layer in reversed(flow.layers):
        back, log_det = layer.inverse(back)
        undone = undone + log_det
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(undone, -paid)
    normal = -0.5 * z.square().sum(1) - 3 * math.log(2 * math.pi)
    torch.testing.assert_close(flow.log_prob(x), normal + paid)


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


def test_without_the_cache_is_what_the_library_does_without_it():
    model = MODELS["PixelCNN"](4).eval()
    torch.manual_seed(3)
    whole = sampling.without_cache(model, 5)
    torch.manual_seed(3)
    assert torch.equal(whole, model.sample(5, cache=False))


def test_every_eighth_position_takes_an_eighth_of_the_passes(monkeypatch):
    model, passes = MODELS["MADE"](4).eval(), []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda x: passes.append(1) or predict(x))
    sampling.without_cache(model, 2, every=8)
    assert len(passes) == 2
    monkeypatch.setitem(sampling.EVERY, "MADE", 5)
    ticking(monkeypatch, 1)  # so each run takes a second, with 4 of 16 positions without the cache
    row = sampling.compare("MADE", "", model, 2, repeats=3)
    assert row["every"] == 5 and row["runs"]["uncached"] == [4, 4, 4] and row["runs"]["cached"] == [1, 1, 1]
    assert row["ratio"] == 4 and row["pass_s"] == row["passes"] == 1
    assert row["spread"]["uncached"] == [4, 4]


@pytest.mark.skipif(not RIVALS.exists(), reason="`make benchmarks` installs the other libraries")
def test_all_couplings_have_as_many_parameters_and_are_densities():
    code = """
import torch
from benchmarks.prototypes import realnvp
from benchmarks.rivals import COUPLINGS, pythae_pixelcnn
want = sum(p.numel() for p in realnvp(2, 4, (8, 8)).parameters())
grid = torch.cartesian_prod(*2 * [torch.linspace(-9, 9, 181)])
for name, build in COUPLINGS.items():
    torch.manual_seed(0)
    flow = build(2, 4, 8)
    assert sum(p.numel() for p in flow.parameters()) == want, name
    with torch.no_grad():
        total = flow.log_prob(grid).double().exp().sum() * 0.01
    assert abs(total - 1) < 0.01, (name, total)
wide, narrow = (pythae_pixelcnn(4, 2, channels).net for channels in (64, 63))
shapes = [[tuple(p.shape) for p in net.parameters()] for net in (wide, narrow)]
assert shapes[0] == [tuple(64 if d == 63 else d for d in shape) for shape in shapes[1]], shapes
"""
    env = {**os.environ, "PYTHONPATH": f"{RIVALS}{os.pathsep}{ROOT}"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_rival_that_is_not_here_says_how_it_gets_here():
    with pytest.raises(SystemExit, match="`make benchmarks` installs it"):
        rivals.load("no_such_library")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.726])
def test_the_error_of_a_share_is_what_repeated_votes_show(share):
    torch.manual_seed(0)
    votes = (torch.rand(20_000, 500) < share).float().mean(1)
    assert quality.standard_error(share, 500) == pytest.approx(votes.std().item(), rel=0.03)


def test_neighbours_vote():
    torch.manual_seed(0)
    a, b = torch.randint(2, (2, 400, 30)).float()
    for share in quality.votes(a, b):
        assert share == pytest.approx(0.5, abs=0.1)  # one distribution, full of ties
    assert quality.votes(a, b + 100) == (1, 1)
    samples, real = quality.votes(b + 0.01, b)  # samples that copy: no neighbour is of the own side
    assert samples < 0.1 and real < 0.1


def test_what_is_timed_of_a_flow_is_the_same_flow(monkeypatch):
    flow_costs.check(5)
    rounds = flow_costs.anew
    monkeypatch.setattr(flow_costs, "anew", lambda layers, z: rounds(layers[:-1], z))
    with pytest.raises(AssertionError):
        flow_costs.check(5)


def test_the_determinant_that_is_timed_is_one():
    matrix = torch.randn(5, 5).tril()
    expected = torch.linalg.det(matrix).abs().log()
    torch.testing.assert_close(determinant.full(matrix), expected)
    torch.testing.assert_close(determinant.triangular(matrix), expected)


# --- What is stored, and what it claims -------------------------------------------------------------------------------

# A tiny MADE draws without its cache, and pays for the choice alone.
LEAST = {"tiny MADE": 0.85, "PixelCNN": 20, "GatedPixelCNN": 20, "CausalTransformer": 20, "WaveNet": 20}


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
    for rival in row["rivals"]:  # the cache by hand is the same arithmetic, and nobody promises to beat it
        assert rival["ratio"] > (20 if row["model"] == "MAF" else 0.9 if rival["name"] == "plain PyTorch" else 1)


@pytest.mark.parametrize("row", RESULTS.get("training_step", {"rows": []})["rows"], ids=lambda row: row["model"])
def test_training_costs_what_plain_pytorch_costs(row):
    """At most 1.05 times as much, and measured well enough to tell a twentieth."""
    error = pytest.importorskip(
        "book._ext.results.benchmarks", reason="the book's tools are not installed"
    ).ratio_error(row)
    assert row["ratio"] <= 1.05 and 2 * error < 0.05


def stored(topic: str) -> list:
    """Rows of a file of measurements; the test is skipped where there is none yet."""
    if topic not in RESULTS:
        pytest.skip("not measured yet")
    return RESULTS[topic]["rows"]


def test_what_is_given_is_read_in_one_pass():
    for row in stored("completion"):
        assert row["passes"] <= 1.5, row["model"]


def test_a_likelihood_costs_what_it_costs_in_plain_pytorch_and_memory_does_not_grow():
    small, large = stored("likelihood")
    for row in (small, large):
        assert row["ratio"] <= 1.05
    assert large["pictures"] >= 10 * small["pictures"]
    for other in (small["memory_mb"]["ours"], large["memory_mb"]["plain"]):
        assert large["memory_mb"]["ours"] < 2 * other + 10


def test_no_library_of_flows_takes_a_faster_step():
    for row in stored("flow_step"):
        assert row["ratio"] <= 1 and len(set(row["parameters"].values())) == 1, row["model"]


HEADLINES = ["sampling", "training_step", "flow_step", "likelihood", "completion"]


@pytest.mark.parametrize("topic", HEADLINES)
def test_every_headline_has_three_runs_and_their_spread(topic):
    rows = stored(topic)
    if "processor" not in RESULTS[topic]:
        pytest.skip("measured before spreads were kept")
    for row in rows:
        runs = row.get("runs", row.get("runs_ms"))
        spread = row.get("spread", row.get("spread_ms"))
        for name, values in runs.items():
            assert len(values) >= 3 and spread[name] == pytest.approx([min(values), max(values)], rel=1e-3), name


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
    if script in ("sampling", "flow_step") and not RIVALS.exists():
        pytest.skip("`make benchmarks` installs the other libraries")
    run = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", "--quick", "--repeats", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(RIVALS)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    start = run.stdout.index('{\n "topic"')
    record, _ = json.JSONDecoder().raw_decode(run.stdout[start:])  # sampling prints a second one after it
    assert record["topic"] == script and record["rows"]
