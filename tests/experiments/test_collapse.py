"""The script behind chapter 11's sweep of decoders: what each sees, what a cure trains, and a run on few digits."""

import json
import sys

import pytest
import torch

from lvmlib.bounds import elbo
from lvmlib.checkpoints import load_checkpoint
from lvmlib.experiments import collapse as script
from lvmlib.experiments.records import record
from lvmlib.objectives import free_bits


@pytest.fixture(scope="module")
def digits():
    return script.small_digits()


@pytest.mark.parametrize("reach", script.DECODERS)
def test_a_decoder_sees_as_far_as_its_name_says(reach):
    torch.manual_seed(0)
    model = script.model_of(*script.DECODERS[reach]).double()
    for p in model.parameters():  # random biases too, so that no path is closed by chance
        p.data.add_(0.1 * torch.randn_like(p))
    x, z = torch.rand(1, 1, 14, 14).double().requires_grad_(), torch.randn(1, 8).double().requires_grad_()
    pixels = model.pair.decoder
    logits = pixels.density.predict(x, pixels.network(z)).flatten()
    of_x, of_z = torch.autograd.grad(logits[13 * 14 + 13], (x, z), retain_graph=True)  # of the last pixel
    rows, columns = of_x[0, 0].nonzero(as_tuple=True)
    seen = max([0, *(13 - rows).tolist(), *(13 - columns).tolist()])
    assert seen == min(reach, 13) and of_z.abs().max() > 0 and of_x[0, 0, 13, 13] == 0


def test_every_cure_starts_from_the_objective_that_it_names():
    torch.manual_seed(0)
    model, x = script.model_of(1, 1), torch.bernoulli(torch.full((5, 1, 14, 14), 0.3))

    def value(loss):
        torch.manual_seed(1)
        return loss(model, x).mean().item()

    plain, rising = script.objective("none", 8), script.objective("annealing", 8)
    for loss, beta in (plain, script.objective("pixels first", 8), script.objective("twice", 8)):
        assert beta is None and value(loss) == pytest.approx(value(lambda m, x: -elbo(m, x)))
    for step, beta in ((0, 0.0), (2, 0.5), (4, 1.0), (7, 1.0)):
        rising[1](step)
        assert value(rising[0]) == pytest.approx(value(lambda m, x, b=beta: -elbo(m, x, beta=b)))
    cycles = script.objective("cycles", 8)[1]
    betas = [cycles(step) or cycles.value for step in range(8)]
    assert betas == [0.0, 1.0] * 4
    alone = script.objective("no code", 8)
    pixels = model.pair.decoder
    odds = pixels.density.predict(x, pixels.network(torch.zeros(5, 8))).reshape(x.shape)
    at_zero = (x * odds - torch.nn.functional.softplus(odds)).sum((1, 2, 3)).mean().item()
    assert alone[1] is None and value(alone[0]) == pytest.approx(-at_zero)
    assert abs(value(alone[0]) - value(plain[0])) > 1e-3
    floor = script.objective("free bits", 8)
    assert value(floor[0]) == pytest.approx(value(lambda m, x: -free_bits(m, x, script.FLOOR)))


def test_digits_are_means_of_four_pixels_drawn_anew(digits):
    train, test = digits
    assert train.x.shape == (50_000, 1, 14, 14) and len(test) == 10_000
    x = script.load("mnist")[0].x[:99].float()
    four = (x[..., ::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, ::2] + x[..., 1::2, 1::2]) / 4
    assert (train.x[:99] - four).abs().max() == 0.5
    assert not torch.equal(train.batch(range(9)), train.batch(range(9)))
    assert train.batch(range(9)).unique().tolist() == [0, 1]


def test_runs_from_the_command_line_are_made_once(digits, monkeypatch, tmp_path, capsys):
    few = tuple(part.subset(slice(0, 60)) for part in digits)
    monkeypatch.setattr(script, "small_digits", lambda: few)
    for name, value in {"STEPS": 60, "BATCH": 10, "TRAIN": 60, "TEST": 20, "DRAWS": 5}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "OUT", tmp_path / "collapse.json")
    monkeypatch.setattr(sys, "argv", ["collapse", "reach 2", "reach 0"])
    script.main()
    found = json.loads((tmp_path / "collapse.json").read_text("utf-8"))["runs"]
    assert list(found) == ["reach 0", "reach 2"]  # in the order of the settings
    terms = found["reach 0"]["train"]
    assert terms["mutual_information"] + terms["marginal_kl"] == pytest.approx(terms["rate"], abs=0.5)
    for of in found.values():
        assert len(of["test_nll_each"]) == 20
        assert sum(of["test_nll_each"]) / 20 == pytest.approx(of["test_nll_nats"], abs=0.01)
    assert len(found["reach 2"]["curve"]) == 60 and (tmp_path / "collapse_factorised.safetensors").exists()
    capsys.readouterr()
    script.main()
    assert capsys.readouterr().out == ""


def test_pixels_first_goes_on_from_the_model_without_a_code(digits, monkeypatch):
    few = tuple(part.subset(slice(0, 60)) for part in digits)
    for name, value in {"STEPS": 60, "BATCH": 10, "TRAIN": 60, "TEST": 20, "DRAWS": 5, "KEPT": {}}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setitem(script.SETTINGS, "alone", script.Setting(5, 1, "no code"))
    monkeypatch.setitem(script.SETTINGS, "first", script.Setting(5, 1, "pixels first"))
    monkeypatch.setitem(script.SETTINGS, "plain", script.Setting(5, 1))
    alone, first, plain = (script.run(name, *few) for name in ("alone", "first", "plain"))
    assert alone["train"]["rate"] == alone["test_rate"] == alone["active_units"] == 0 and alone["curve"] == []
    assert alone["test_elbo"] == -alone["test_nll_nats"]
    assert len(first["curve"]) == 60 and first["test_nll_nats"] < plain["test_nll_nats"] - 1  # it had twice the steps


@pytest.mark.parametrize("cure", script.CURES)
def test_a_run_is_trained_in_one_stretch_or_in_two(digits, monkeypatch, cure):
    stretches = []
    monkeypatch.setattr(script, "train_model", lambda model, cure, *others: stretches.append(cure) or [])
    monkeypatch.setattr(script, "measured", lambda *of: {})
    monkeypatch.setattr(script, "measured_without_code", lambda *of: {})
    monkeypatch.setitem(script.SETTINGS, "small", script.Setting(5, 1, cure))
    script.run("small", *(part.subset(slice(0, 9)) for part in digits))
    in_two = {
        "pixels first": ["no code", "pixels first"],
        "pixels first, annealing": ["no code", "annealing"],
        "pixels first, free bits": ["no code", "free bits"],
        "twice": ["none", "twice"],
    }
    assert stretches == in_two.get(cure, [cure])
    _, beta = script.objective(stretches[-1], 8)
    assert (beta is None) == (stretches[-1] not in ("annealing", "cycles"))


@pytest.mark.parametrize("name", [name for name in script.KEPT if record(script.KEPT[name])])
def test_shipped_weights_do_what_their_run_says(digits, name):
    reach = int(name.removeprefix("reach ").split(",")[0])
    model, run = script.model_of(*script.DECODERS[reach]), record("collapse")["runs"][name]
    assert load_checkpoint(model, script.KEPT[name])["run"] == name
    torch.manual_seed(0)
    with torch.no_grad():
        bound = elbo(model, digits[1].fixed(seed=0).x[:200])
    assert abs(bound.mean().item() - run["test_elbo"]) < 4 * bound.std().item() / 200**0.5
