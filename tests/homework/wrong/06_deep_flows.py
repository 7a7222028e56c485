# %% imports
import math

import numpy as np
import torch


def scale_and_shift_of(x, m, W1, b1, W2, b2):
    h = torch.tanh((m * x) @ W1.T + b1)
    t, r = (h @ W2.T + b2).chunk(2, 1)
    return torch.tanh(r), t


def pieces(knots_x, knots_y, slopes, k):
    width, height = np.diff(knots_x)[k], np.diff(knots_y)[k]
    return width, height, height / width, slopes[k], slopes[k + 1]


# %% q1: the log-determinant counts coordinates that pass
def coupling(x, m, W1, b1, W2, b2):
    s, t = scale_and_shift_of(x, m, W1, b1, W2, b2)
    return m * x + (1 - m) * (x * s.exp() + t), s.sum(1)


# %% q1: the network sees the coordinates that move
def coupling(x, m, W1, b1, W2, b2):
    s, t = scale_and_shift_of(x, 1 - m, W1, b1, W2, b2)
    return m * x + (1 - m) * (x * s.exp() + t), ((1 - m) * s).sum(1)


def coupling_back(z, m, W1, b1, W2, b2):
    s, t = scale_and_shift_of(z, 1 - m, W1, b1, W2, b2)
    return m * z + (1 - m) * (z - t) * (-s).exp()


# %% q1: the mask the other way round
def coupling(x, m, W1, b1, W2, b2):
    m = 1 - m
    s, t = scale_and_shift_of(x, m, W1, b1, W2, b2)
    return m * x + (1 - m) * (x * s.exp() + t), ((1 - m) * s).sum(1)


# %% q1: first shift, then scale
def coupling(x, m, W1, b1, W2, b2):
    s, t = scale_and_shift_of(x, m, W1, b1, W2, b2)
    return m * x + (1 - m) * (x + t) * s.exp(), ((1 - m) * s).sum(1)


# %% q1: on the way back the shift is taken off after scaling
def coupling_back(z, m, W1, b1, W2, b2):
    s, t = scale_and_shift_of(z, m, W1, b1, W2, b2)
    return m * z + (1 - m) * (z * (-s).exp() - t)


# %% q1: scales and shifts exchanged
def coupling(x, m, W1, b1, W2, b2):
    h = torch.tanh((m * x) @ W1.T + b1)
    r, t = (h @ W2.T + b2).chunk(2, 1)
    s = torch.tanh(r)
    return m * x + (1 - m) * (x * s.exp() + t), ((1 - m) * s).sum(1)


# %% q1: nothing moves
def coupling(x, m, W1, b1, W2, b2):
    return x, torch.zeros(len(x))


# %% q2: reshaped without regard to blocks
def to_noise(x, a):
    z, log_det = x.flatten(1), 0.0
    for scale, log_factor in enumerate(a):
        left = z.shape[1] // 2**scale
        factors = torch.ones(z.shape[1], dtype=z.dtype)
        factors[-left:] = math.exp(log_factor)
        z, log_det = z * factors, log_det + log_factor * left
    return z, torch.full((len(x),), log_det, dtype=z.dtype)


# %% q2: all entries are counted at every scale
def to_noise(x, a):
    B, parts, total = len(x), [], sum(a) * x[0].numel()
    for scale, log_factor in enumerate(a):
        C, H, W = x.shape[1:]
        x = x.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(B, 4 * C, H // 2, W // 2) * math.exp(log_factor)
        if scale < len(a) - 1:
            x, leaves = x.chunk(2, 1)
            parts.append(leaves.flatten(1))
    return torch.cat([*parts, x.flatten(1)], 1), torch.full((B,), total, dtype=x.dtype)


# %% q2: the squeeze is charged, and factors are counted once
def to_noise(x, a):
    B, parts = len(x), []
    for scale, log_factor in enumerate(a):
        C, H, W = x.shape[1:]
        x = x.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(B, 4 * C, H // 2, W // 2) * math.exp(log_factor)
        if scale < len(a) - 1:
            x, leaves = x.chunk(2, 1)
            parts.append(leaves.flatten(1))
    return torch.cat([*parts, x.flatten(1)], 1), torch.full((B,), sum(a), dtype=x.dtype)


# %% q2: the first half leaves
def to_noise(x, a):
    B, parts, log_det = len(x), [], 0.0
    for scale, log_factor in enumerate(a):
        C, H, W = x.shape[1:]
        x = x.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(B, 4 * C, H // 2, W // 2) * math.exp(log_factor)
        log_det += log_factor * x[0].numel()
        if scale < len(a) - 1:
            leaves, x = x.chunk(2, 1)
            parts.append(leaves.flatten(1))
    return torch.cat([*parts, x.flatten(1)], 1), torch.full((B,), log_det, dtype=x.dtype)


# %% q2: channels of one place together: channel C (2 i + j) + c
def to_noise(x, a):
    B, parts, log_det = len(x), [], 0.0
    for scale, log_factor in enumerate(a):
        C, H, W = x.shape[1:]
        x = x.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 3, 5, 1, 2, 4)
        x = x.reshape(B, 4 * C, H // 2, W // 2) * math.exp(log_factor)
        log_det += log_factor * x[0].numel()
        if scale < len(a) - 1:
            x, leaves = x.chunk(2, 1)
            parts.append(leaves.flatten(1))
    return torch.cat([*parts, x.flatten(1)], 1), torch.full((B,), log_det, dtype=x.dtype)


# %% q2: a way back that only reshapes
def to_data(z, a, shape):
    return z.reshape(len(z), *shape) * math.exp(-sum(a) / len(a))


# %% q2: zeros
def to_noise(x, a):
    return torch.zeros(len(x), x[0].numel()), torch.zeros(len(x))


# %% q3: the inverse is not transposed
def conv_gradient(R, x):
    moments = np.einsum("ncij,ndij->cd", x, x) / len(x)
    return R @ moments - x.shape[2] * x.shape[3] * np.linalg.inv(R)


# %% q3: the pixels are forgotten in the determinant
def conv_gradient(R, x):
    moments = np.einsum("ncij,ndij->cd", x, x) / len(x)
    return R @ moments - np.linalg.inv(R).T


# %% q3: summed over pictures
def conv_gradient(R, x):
    moments = np.einsum("ncij,ndij->cd", x, x)
    return R @ moments - x.shape[2] * x.shape[3] * np.linalg.inv(R).T


# %% q3: the sign of the determinant
def conv_gradient(R, x):
    moments = np.einsum("ncij,ndij->cd", x, x) / len(x)
    return R @ moments + x.shape[2] * x.shape[3] * np.linalg.inv(R).T


# %% q3: covariance in place of second moments
def best_conv(x):
    rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    cov = np.atleast_2d(np.cov(rows, bias=True))
    return np.linalg.inv(np.linalg.cholesky(cov))


# %% q3: the factor itself, not its inverse
def best_conv(x):
    moments = np.einsum("ncij,ndij->cd", x, x) / (x.size / x.shape[1])
    return np.linalg.cholesky(moments)


# %% q3: the symmetric root, and no square root of the pixels
def best_conv(x):
    moments = np.einsum("ncij,ndij->cd", x, x) / len(x)
    return np.linalg.inv(np.linalg.cholesky(moments))


# %% q3: the identity
def best_conv(x):
    return np.eye(x.shape[1])


# %% q4: the derivative without its square
def spline(x, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_x, x) - 1, 0, len(knots_x) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (x > knots_x[0]) & (x < knots_x[-1])
    xi = np.where(inside, (x - knots_x[k]) / width, 0.5)
    both = xi * (1 - xi)
    below = s + (left + right - 2 * s) * both
    z = knots_y[k] + height * (s * xi**2 + left * both) / below
    slope = s**2 * (right * xi**2 + 2 * s * both + left * (1 - xi) ** 2) / below
    return np.where(inside, z, x), np.where(inside, np.log(slope), 0.0)


# %% q4: slopes of the two ends exchanged in the derivative
def spline(x, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_x, x) - 1, 0, len(knots_x) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (x > knots_x[0]) & (x < knots_x[-1])
    xi = np.where(inside, (x - knots_x[k]) / width, 0.25)
    both = xi * (1 - xi)
    below = s + (left + right - 2 * s) * both
    z = knots_y[k] + height * (s * xi**2 + right * both) / below
    slope = s**2 * (left * xi**2 + 2 * s * both + right * (1 - xi) ** 2) / below**2
    return np.where(inside, z, x), np.where(inside, np.log(slope), 0.0)


# %% q4: the slope by xi in place of the slope by x
def spline(x, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_x, x) - 1, 0, len(knots_x) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (x > knots_x[0]) & (x < knots_x[-1])
    xi = np.where(inside, (x - knots_x[k]) / width, 0.5)
    both = xi * (1 - xi)
    below = s + (left + right - 2 * s) * both
    z = knots_y[k] + height * (s * xi**2 + left * both) / below
    slope = s**2 * (right * xi**2 + 2 * s * both + left * (1 - xi) ** 2) / below**2
    return np.where(inside, z, x), np.where(inside, np.log(slope * width), 0.0)


# %% q4: linear between the knots
def spline(x, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_x, x) - 1, 0, len(knots_x) - 2)
    inside = (x > knots_x[0]) & (x < knots_x[-1])
    slope = (np.diff(knots_y) / np.diff(knots_x))[k]
    z = np.where(inside, np.interp(x, knots_x, knots_y), x)
    return z, np.where(inside, np.log(slope), 0.0)


# %% q4: the school formula, 0 / 0 where the spline is straight
def spline_back(z, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_y, z) - 1, 0, len(knots_y) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (z > knots_y[0]) & (z < knots_y[-1])
    eta = np.where(inside, (z - knots_y[k]) / height, 0.5)
    bend = left + right - 2 * s
    a, b, c = s - left + eta * bend, left - eta * bend, -eta * s
    xi = (-b + np.sqrt(b**2 - 4 * a * c)) / (2 * a)
    return np.where(inside, knots_x[k] + xi * width, z)


# %% q4: the other root
def spline_back(z, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_y, z) - 1, 0, len(knots_y) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (z > knots_y[0]) & (z < knots_y[-1])
    eta = np.where(inside, (z - knots_y[k]) / height, 0.5)
    bend = left + right - 2 * s
    a, b, c = s - left + eta * bend, left - eta * bend, -eta * s
    xi = -2 * c / (b - np.sqrt(b**2 - 4 * a * c))
    return np.where(inside, knots_x[k] + xi * width, z)


# %% q4: the bin is looked up among the knots of x
def spline_back(z, knots_x, knots_y, slopes):
    k = np.clip(np.searchsorted(knots_x, z) - 1, 0, len(knots_y) - 2)
    width, height, s, left, right = pieces(knots_x, knots_y, slopes, k)
    inside = (z > knots_y[0]) & (z < knots_y[-1])
    eta = np.where(inside, (z - knots_y[k]) / height, 0.5)
    bend = left + right - 2 * s
    a, b, c = s - left + eta * bend, left - eta * bend, -eta * s
    xi = -2 * c / (b + np.sqrt(np.abs(b**2 - 4 * a * c)))
    return np.where(inside, knots_x[k] + xi * width, z)


# %% q4: the identity
def spline(x, knots_x, knots_y, slopes):
    return x, np.zeros(len(x))


# %% q5: all terms with a plus
def log_det_series(A, n):
    powers = [np.linalg.matrix_power(A, k) for k in range(1, n + 1)]
    return sum(np.trace(power) / (k + 1) for k, power in enumerate(powers))


# %% q5: powers of the trace
def log_det_series(A, n):
    return sum((-1) ** (k + 1) * np.trace(A) ** k / k for k in range(1, n + 1))


# %% q5: the largest term left out, not their sum
def truncation_bound(L, D, n):
    return D * L ** (n + 1) / (n + 1)


# %% q5: a geometric series without the 1 / k
def truncation_bound(L, D, n):
    return D * L ** (n + 1) / (1 - L)


# %% q5: terms are not weighted
def roulette(A, v, n, p):
    total, product = np.zeros(len(v)), v
    for k in range(1, max(n) + 1):
        product = product @ A
        total += np.where(k <= n, (-1) ** (k + 1) / k * (product * v).sum(1), 0)
    return total


# %% q5: weights by P(N = k)
def roulette(A, v, n, p):
    total, product = np.zeros(len(v)), v
    for k in range(1, max(n) + 1):
        product = product @ A
        term = (-1) ** (k + 1) / k * (product * v).sum(1)
        total += np.where(k <= n, term / p ** (k - 1) / (1 - p), 0)
    return total


# %% q5: weights off by one
def roulette(A, v, n, p):
    total, product = np.zeros(len(v)), v
    for k in range(1, max(n) + 1):
        product = product @ A
        term = (-1) ** (k + 1) / k * (product * v).sum(1)
        total += np.where(k <= n, term / p**k, 0)
    return total


# %% q5: powers of the estimate in place of estimates of powers
def roulette(A, v, n, p):
    once = ((v @ A) * v).sum(1)
    total = np.zeros(len(v))
    for k in range(1, max(n) + 1):
        term = (-1) ** (k + 1) / k * once**k
        total += np.where(k <= n, term / p ** (k - 1), 0) * v.shape[1]
    return total


# %% q5: zeros
def roulette(A, v, n, p):
    return np.zeros(len(v))


# %% q6: the number of levels is forgotten
def to_line(x, u):
    y = 0.025 + 0.95 * (x + u) / 17
    z = y.log() - (1 - y).log()
    return z, (math.log(0.95) - y.log() - (1 - y).log()).sum(1)


# %% q6: the sign of the log-determinant
def to_line(x, u):
    y = 0.025 + 0.95 * (x + u) / 17
    z = y.log() - (1 - y).log()
    return z, -(math.log(0.95 / 17) - y.log() - (1 - y).log()).sum(1)


# %% q6: the mean over dimensions, and 16 levels
def to_line(x, u):
    y = 0.025 + 0.95 * (x + u) / 16
    z = y.log() - (1 - y).log()
    return z, (math.log(0.95 / 16) - y.log() - (1 - y).log()).mean(1)


# %% q6: nats
bits_checkerboard, bits_halves, gain_error = 1.558, 1.638, 0.0038

# %% q6: the error of an unpaired difference
bits_checkerboard, bits_halves, gain_error = 2.248, 2.362, 0.0165

# %% q6: log 17 left out
bits_checkerboard, bits_halves, gain_error = -1.84, -1.73, 0.0055

# %% q6: two checkerboards
bits_checkerboard, bits_halves, gain_error = 2.248, 2.248, 0.0

# %% q6: standard deviation in place of the standard error
bits_checkerboard, bits_halves, gain_error = 2.248, 2.362, 0.104

# %% q6: zeros
bits_checkerboard, bits_halves, gain_error = 0.0, 0.0, 0.0
