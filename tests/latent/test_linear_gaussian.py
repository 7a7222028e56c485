import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import MultivariateNormal

from lvmlib.latent import LinearGaussian


def test_posterior_is_the_conditional_of_the_joint_gaussian():
    """Against the conditioning formula on the joint covariance of (x, z), a different route to the same posterior."""
    torch.manual_seed(0)
    weight, bias = torch.randn(4, 2).double(), torch.randn(4).double()
    mean, root = torch.randn(2).double(), torch.randn(2, 2).double()
    covariance = root @ root.T + torch.eye(2).double()
    layer = LinearGaussian(weight, bias, 0.6, mean, covariance)
    mean_x, covariance_x = layer.marginal(mean, covariance)
    x = torch.randn(3, 4).double()
    cross = covariance @ weight.T  # Cov(z, x)
    gain = cross @ torch.linalg.inv(covariance_x)
    posterior = layer.posterior(x)
    torch.testing.assert_close(posterior.mean, mean + (x - mean_x) @ gain.T)
    torch.testing.assert_close(posterior.covariance_matrix[0], covariance - gain @ cross.T)


def test_the_factor_stays_triangular_while_it_is_trained():
    layer = LinearGaussian(torch.randn(4, 2), torch.randn(4), 1.0)
    with torch.no_grad():
        layer.tril += 1.0
    assert layer.posterior(torch.zeros(1, 4)).scale_tril[0, 0, 1] == 0.0


def test_marginal_against_scipy():
    layer = LinearGaussian(torch.tensor([[1.0], [2.0]]).double(), torch.tensor([0.5, -0.5]).double(), 0.3)
    mean, covariance = layer.marginal(torch.zeros(1).double(), torch.eye(1).double())
    ours = MultivariateNormal(mean, covariance).log_prob(torch.zeros(2).double()).item()
    exact = multivariate_normal([0.5, -0.5], [[1.09, 2.0], [2.0, 4.09]]).logpdf([0.0, 0.0])
    assert ours == pytest.approx(exact)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"weight must be \[D, H\]"):
        LinearGaussian(torch.randn(4, 2), torch.randn(3), 1.0)
    with pytest.raises(ValueError, match="positive, but it is -1"):
        LinearGaussian(torch.randn(4, 2), torch.randn(4), -1.0)
