"""The benchmarks measure what they say: turns, records, and what is counted against closed forms."""

from __future__ import annotations

import doctest
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

common = pytest.importorskip("benchmarks.common", reason="the benchmarks are not shipped with the library")

from benchmarks import (  # noqa: E402
    determinant,
    flow_costs,
    quality,
    sampling,
    three_ways,
)
from benchmarks.models import MODELS  # noqa: E402


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
