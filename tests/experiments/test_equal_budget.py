import json

import pytest
import torch

from lvmlib.autoregressive import FVSBN, MADE
from lvmlib.checkpoints import SHIPPED
from lvmlib.data import Data, load
from lvmlib.experiments import drawing_orders, equal_budget


@pytest.fixture
def few(monkeypatch):
    """A few pictures of noise in place of MNIST, and two models that train at once."""
    torch.manual_seed(0)
    splits = [
        Data(torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8), torch.arange(n) % 10, "few")
        for n in (128, 1000, 50)
    ]
    for module in (equal_budget, drawing_orders):
        monkeypatch.setattr(module, "load", lambda name: splits)
    small = {"FVSBN": lambda: FVSBN((1, 14, 14)), "MADE": lambda: MADE((1, 14, 14), hidden=(8,))}
    monkeypatch.setattr(equal_budget, "MODELS", small)
    return splits


def test_small_digits_are_means_of_four_cut_at_half():
    x = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    x[0, 0, :2, :6] = torch.tensor([[255, 255, 255, 255, 127, 128], [0, 0, 1, 0, 128, 127]], dtype=torch.uint8)
    small = equal_budget.small_digits(Data(x)).x
    assert small.shape == (1, 1, 14, 14) and small.dtype == torch.float32
    assert small[0, 0, 0, :3].tolist() == [0, 1, 0]  # means 127.5, 127.75 and 127.5: above half, not at it
    assert small.sum() == 1


def splits_of(few):
    return tuple(equal_budget.small_digits(split) for split in few)


def test_a_run_reports_the_exact_test_of_what_it_trained(few):
    splits, build = splits_of(few), equal_budget.MODELS["FVSBN"]
    found = equal_budget.run(build, splits, lr=0.01, steps=20, seed=3)
    assert [point["images"] for point in found["validation_curve"]][-1] == 20 * equal_budget.BATCH_SIZE
    model, curve = equal_budget.trained(build, splits[:2], 0.01, 20, seed=3)
    nll = -model.log_prob(splits[2].x)
    assert found["test_nll_nats"] == pytest.approx(nll.mean().item(), abs=1e-3)
    assert found["standard_error"] == pytest.approx(nll.std().item() / 50**0.5, abs=1e-3)
    assert found["valid_nll_nats"] == curve[-1][1]
    assert curve[-1][1] == pytest.approx(-model.log_prob(splits[1].x).mean().item(), abs=1e-2)


def test_the_two_best_rates_get_the_whole_budget_and_the_better_is_taken():
    asked = []

    def once(lr, steps):  # on a quarter 0.03 is best and then 0.1; in full 0.1 is better
        asked.append((lr, steps))
        nll = {0.003: 9.0, 0.01: 8.0, 0.03: 6.0, 0.1: 7.0}[lr] if steps == 25 else {0.03: 5.0, 0.1: 4.0}[lr]
        return {"seconds": 1.0, "valid_nll_nats": nll, "test_nll_nats": nll + 0.5}

    found = equal_budget.measure(once, steps=100)
    assert asked == [(lr, 25) for lr in equal_budget.RATES] + [(0.03, 100), (0.1, 100)]
    assert found["lr"] == 0.1 and found["test_nll_nats"] == 4.5
    assert found["validation_of_rates_in_full"] == {"0.03": 5.0, "0.1": 4.0}
    assert found["validation_of_rates_on_a_quarter"]["0.03"] == 6.0
    assert (found["training_seconds"], found["tuning_seconds"]) == (1.0, 5.0)


def test_a_rate_at_which_training_breaks_down_is_noted_and_not_taken(few, monkeypatch):
    plain = equal_budget.trained

    def breaks(build, splits, lr, steps, seed):
        if lr > 0.01:
            raise FloatingPointError
        return plain(build, splits, lr, steps, seed)

    monkeypatch.setattr(equal_budget, "trained", breaks)
    splits, build = splits_of(few), equal_budget.MODELS["FVSBN"]
    found = equal_budget.measure(lambda lr, steps: equal_budget.run(build, splits, lr, steps, seed=0), 8)
    assert found["lr"] <= 0.01 and set(found["validation_of_rates_in_full"]) == {"0.003", "0.01"}
    assert [v is None for v in found["validation_of_rates_on_a_quarter"].values()] == [False, False, True, True]


def test_a_comparison_that_was_interrupted_goes_on_with_the_next_run(few, tmp_path, monkeypatch):
    out = tmp_path / "equal.json"
    monkeypatch.setattr("sys.argv", ["x", "--steps", "8", "--out", str(out)])
    plain, done = equal_budget.run, []

    def once_broken(build, splits, lr, steps, seed):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append((build, lr, steps))
        return plain(build, splits, lr, steps, seed)

    monkeypatch.setattr(equal_budget, "run", once_broken)
    with pytest.raises(KeyboardInterrupt):
        equal_budget.main()
    assert not out.exists()
    done.append(None)  # past the break
    equal_budget.main()
    record = json.loads(out.read_text())
    done.remove(None)
    assert len(done) == len(set(done)) == 12  # six of each model, none twice
    assert list(record["models"]) == ["FVSBN", "MADE"] and record["images_seen"] == 8 * equal_budget.BATCH_SIZE
    assert [path.name for path in tmp_path.iterdir()] == ["equal.json"]


def test_orders_are_trained_alike(few, tmp_path, monkeypatch):
    orders = []
    plain = drawing_orders.MADE
    monkeypatch.setattr(
        drawing_orders, "MADE", lambda *a, order, **k: orders.append(order) or plain(*a, order=order, **k)
    )
    out = tmp_path / "orders.json"
    monkeypatch.setattr("sys.argv", ["x", "--steps", "2", "--hidden", "8", "--orders", "2", "--out", str(out)])
    drawing_orders.main()
    record = json.loads(out.read_text())
    assert {name: len(values) for name, values in record["test_nll_nats"].items()} == {
        "line by line": 2,
        "random order": 2,
    }
    assert orders[0] is None and orders[2] is None and not torch.equal(orders[1], orders[3])
    assert orders[1].sort().values.tolist() == list(range(196))


def test_the_shipped_record_is_of_these_models_and_can_be_repeated():
    record = json.loads((SHIPPED / "equal_budget.json").read_text("utf-8"))
    train, valid, test = splits_of(load("mnist"))
    assert train.sha256() in record["data"]
    assert record["images_seen"] == record["steps"] * equal_budget.BATCH_SIZE == 96_000
    assert list(record["models"]) == list(equal_budget.MODELS)
    for name, build in equal_budget.MODELS.items():
        found = record["models"][name]
        assert found["parameters"] == sum(p.numel() for p in build().parameters()), name
        quarter = {rate: v for rate, v in found["validation_of_rates_on_a_quarter"].items() if v is not None}
        full = found["validation_of_rates_in_full"]
        assert set(full) == set(sorted(quarter, key=quarter.get)[:2]), name
        assert full[str(found["lr"])] == min(v for v in full.values() if v is not None), name
    found = record["models"]["FVSBN"]
    splits = (train, valid.subset(1000))
    model, _ = equal_budget.trained(equal_budget.MODELS["FVSBN"], splits, found["lr"], record["steps"], record["seed"])
    again = equal_budget.each_nll(model, test.x).mean().item()
    assert again == pytest.approx(found["test_nll_nats"], abs=found["standard_error"])


def test_in_the_shipped_record_random_orders_are_the_easier_ones():
    found = json.loads((SHIPPED / "drawing_orders.json").read_text("utf-8"))["test_nll_nats"]
    assert min(found["line by line"]) > max(found["random order"])
