"""A VAE about which everything can be counted: six examples, codes of two bits, probabilities in sixteenths."""

import torch
from torch import nn

from lvmlib.distributions import ConditionalBernoulli, FactorisedBernoulli
from lvmlib.latent import VAE

CODES = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
COINS = torch.tensor([[1, 1], [1, 3], [2, 3], [3, 2], [3, 3], [1, 2]]) / 4  # q(z_j = 1 | x_n)


def discrete_vae() -> tuple[VAE, torch.Tensor]:
    """The model in the default dtype, and its data set: the unit vectors."""
    torch.manual_seed(0)
    encoder, decoder, prior = nn.Linear(6, 2, bias=False), nn.Linear(2, 6), FactorisedBernoulli((2,))
    with torch.no_grad():
        encoder.weight.copy_(torch.logit(COINS.to(encoder.weight)).T)
        prior.logits.copy_(torch.tensor([0.3, -0.8]))
    vae = VAE(ConditionalBernoulli((2,), encoder), ConditionalBernoulli((6,), decoder), prior)
    return vae, torch.eye(6)


def every_code(q, n):
    """Each code as often among 16 draws as its probability says: averages over them are expectations."""
    assert n == 16
    p = torch.where(CODES[:, None] == 1, q.mean, 1 - q.mean).prod(-1)  # [4, B]
    counts = (16 * p).round().long()
    z = torch.stack([CODES.repeat_interleave(c, 0) for c in counts.T], 1).to(q.mean)  # [16, B, 2]
    return z, q.log_prob(z)


def tables(vae: VAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q(z|x_n) [6, 4], p(z) [4] and log p(x_n|z) [6, 4], written out."""
    q = torch.where(CODES == 1, COINS[:, None].double(), 1 - COINS[:, None].double()).prod(-1)
    on = vae.prior.logits.sigmoid()
    p = torch.where(CODES == 1, on, 1 - on).prod(-1)
    probs = (CODES.to(on) @ vae.pair.decoder.network.weight.T + vae.pair.decoder.network.bias).sigmoid()  # [4, 6]
    log_p = torch.where(x[:, None] == 1, probs.log(), (1 - probs).log()).sum(-1)
    return q.detach(), p.detach(), log_p.detach()
