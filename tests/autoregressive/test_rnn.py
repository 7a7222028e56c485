"""Recurrent networks against their equations written out, and what makes them recurrent: the state is everything."""

import pytest
import torch
import torch.nn.functional as F

from lvmlib.autoregressive import RNN
from lvmlib.training import fit


def by_hand(model, x, context=None):
    """Logits of one example [D], gate by gate from the textbook equations."""
    weights = dict(model.rnn.named_parameters())
    layers, H = model.rnn.num_layers, model.rnn.hidden_size
    h, c = [[torch.zeros(H).double() for _ in range(layers)] for _ in range(2)]
    logits = {}
    for t, position in enumerate(model.order.tolist()):
        a = torch.zeros(H).double()
        if t:
            a = a + model.values(x.flatten()[model.order[t - 1]])
        if model.positions is not None:
            rest = position
            for table in list(model.positions.tables)[::-1]:
                a = a + table[rest % len(table)]
                rest //= len(table)
        if context is not None:
            a = a + model.context_map.weight @ context
        for i in range(layers):
            into = weights[f"weight_ih_l{i}"] @ a + weights[f"bias_ih_l{i}"]
            back = weights[f"weight_hh_l{i}"] @ h[i] + weights[f"bias_hh_l{i}"]
            if model.cell == "lstm":
                forget_in, forget, new, out = (into + back).split(H)
                c[i] = forget.sigmoid() * c[i] + forget_in.sigmoid() * new.tanh()
                h[i] = out.sigmoid() * c[i].tanh()
            else:
                (r_in, z_in, n_in), (r_back, z_back, n_back) = into.split(H), back.split(H)
                r, z = (r_in + r_back).sigmoid(), (z_in + z_back).sigmoid()
                h[i] = (1 - z) * (n_in + r * n_back).tanh() + z * h[i]
            a = h[i]
        logits[position] = model.output.weight @ a + model.output.bias
    return torch.stack([logits[i] for i in range(model.dims)], 1)  # [P, D]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6,), {}),
        ((2, 2, 3), {"positions": True, "layers": 2, "context": 3}),
        ((1, 2, 3), {"positions": True, "levels": 5, "order": [5, 3, 1, 0, 2, 4]}),
        ((5,), {"levels": 7, "logistics": 2, "context": 3}),
    ],
)
def test_the_one_pass_is_the_textbook_recurrence(cell, shape, options):
    torch.manual_seed(0)
    model = RNN(shape, hidden=5, cell=cell, **options).double()
    x = torch.randint(model.levels, (2, *shape)).double()
    context = torch.randn(2, 3).double() if "context" in options else None
    for i, outputs in enumerate(model.predict(x, context)):
        expected = by_hand(model, x[i], None if context is None else context[i])
        torch.testing.assert_close(outputs.flatten(1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_of_a_text_model_fit_any_length(cell):
    torch.manual_seed(0)
    short = RNN((6,), hidden=16, layers=2, cell=cell, levels=128)
    long = RNN((15,), hidden=16, layers=2, cell=cell, levels=128)
    long.load_state_dict(short.state_dict())
    x = torch.randint(128, (3, 15)).float()
    torch.testing.assert_close(long.predict(x)[:, :, :6], short.predict(x[:, :6]))
    with pytest.raises(RuntimeError, match="positions"):  # position vectors belong to their positions
        RNN((15,), hidden=16, levels=128, positions=True).load_state_dict(
            RNN((6,), hidden=16, levels=128, positions=True).state_dict()
        )
    kept = RNN((4,), hidden=8, order=[3, 1, 0, 2])  # an order that was chosen is kept with the weights
    other = RNN((4,), hidden=8, order=[0, 1, 2, 3])
    other.load_state_dict(kept.state_dict())
    assert other.order.tolist() == [3, 1, 0, 2]


def test_it_starts_nearly_uniform_and_learns_to_count():
    """Every fourth bit is 1: only a state that counts can know it."""
    torch.manual_seed(0)
    phase = torch.randint(4, (256, 1))
    x = (torch.arange(16) % 4 == phase).float()
    model = RNN((16,), hidden=16)
    assert -model.log_prob(x).mean().item() == pytest.approx(16 * 0.6931, rel=0.1)
    fit(model, x, steps=300, batch_size=64, lr=2e-2, progress=False)
    assert -model.log_prob(x).mean().item() < 1.6  # log 4 = 1.386 for the phase, and nothing more
    drawn = model.sample(100)
    assert (F.unfold(drawn[:, None, None], (1, 4)).sum(1) == 1).float().mean() > 0.95


def test_sizes_are_checked():
    for options, message in [({"hidden": 0}, "hidden"), ({"layers": 0}, "layers"), ({"cell": "elman"}, "elman")]:
        with pytest.raises(ValueError, match=message):
            RNN((4,), **options)
