# %% imports
import numpy as np
import torch
import torch.nn.functional as F


def sigmoid(t):
    return 0.5 * (1 + np.tanh(t / 2))


# %% q1: the rows below are seen, those above are not
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, middle + 1 :] = 1
    mask[:, :, middle, middle + 1 :] = 1
    to = torch.arange(outputs) * colours // outputs
    of = torch.arange(inputs) * colours // inputs
    mask[:, :, middle, middle] = (of < to[:, None] + (kind == "B")).float()
    return mask


# %% q1: channels take turns (R, G, B, R, G, B) in place of contiguous parts
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, :middle] = 1
    mask[:, :, middle, :middle] = 1
    to, of = torch.arange(outputs) % colours, torch.arange(inputs) % colours
    mask[:, :, middle, middle] = (of < to[:, None] + (kind == "B")).float()
    return mask


# %% q1: outputs and inputs exchanged at the centre
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, :middle] = 1
    mask[:, :, middle, :middle] = 1
    to = torch.arange(outputs) * colours // outputs
    of = torch.arange(inputs) * colours // inputs
    mask[:, :, middle, middle] = (of + (kind == "A") > to[:, None]).float()
    return mask


# %% q1: mask B also sees later colours of the pixel
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, :middle] = 1
    mask[:, :, middle, :middle] = 1
    mask[:, :, middle, middle] = float(kind == "B")
    return mask


# %% q1: colours order all pixels, red never sees green of earlier ones
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    middle = kernel // 2
    to = torch.arange(outputs) * colours // outputs
    of = torch.arange(inputs) * colours // inputs
    mask = (of <= to[:, None]).float()[:, :, None, None].repeat(1, 1, kernel, kernel)
    mask[:, :, middle + 1 :] = 0
    mask[:, :, middle, middle + 1 :] = 0
    mask[:, :, middle, middle] = (of < to[:, None] + (kind == "B")).float()
    return mask


# %% q1: zeros
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    return torch.zeros(outputs, inputs, kernel, kernel)


# %% q2: mask B in every layer
def seen(kernels, dilations, size, place):
    now = {place}
    for k, d in zip(reversed(kernels), reversed(dilations)):
        h = k // 2
        span = range(-h, h + 1)
        taps = [(i, j) for i in span for j in span if (i, j) <= (0, 0)]
        now = {(r + d * i, c + d * j) for r, c in now for i, j in taps}
        now = {(r, c) for r, c in now if 0 <= r < size and 0 <= c < size}
    field = np.zeros((size, size), bool)
    for r, c in now:
        field[r, c] = True
    return field


# %% q2: mask A in every layer
def seen(kernels, dilations, size, place):
    now = {place}
    for k, d in zip(reversed(kernels), reversed(dilations)):
        h = k // 2
        span = range(-h, h + 1)
        taps = [(i, j) for i in span for j in span if (i, j) < (0, 0)]
        now = {(r + d * i, c + d * j) for r, c in now for i, j in taps}
        now = {(r, c) for r, c in now if 0 <= r < size and 0 <= c < size}
    field = np.zeros((size, size), bool)
    for r, c in now:
        field[r, c] = True
    return field


# %% q2: the dilations are forgotten
def seen(kernels, dilations, size, place):
    now = {place}
    for layer in reversed(range(len(kernels))):
        h = kernels[layer] // 2
        span = range(-h, h + 1)
        taps = [(i, j) for i in span for j in span if (i, j) < (0, int(layer > 0))]
        now = {(r + i, c + j) for r, c in now for i, j in taps}
        now = {(r, c) for r, c in now if 0 <= r < size and 0 <= c < size}
    field = np.zeros((size, size), bool)
    for r, c in now:
        field[r, c] = True
    return field


# %% q2: the square of earlier pixels, as if there were no blind spot
def seen(kernels, dilations, size, place):
    reach = sum(d * (k // 2) for k, d in zip(kernels, dilations))
    rows, columns = np.mgrid[:size, :size]
    square = (place[0] - rows <= reach) & (abs(columns - place[1]) <= reach)
    return square & (rows * size + columns < place[0] * size + place[1])


# %% q2: what is told to later pixels: the walk in the wrong direction
def seen(kernels, dilations, size, place):
    now = {place}
    for layer in range(len(kernels)):
        h, d = kernels[layer] // 2, dilations[layer]
        span = range(-h, h + 1)
        taps = [(i, j) for i in span for j in span if (i, j) < (0, int(layer > 0))]
        now = {(r - d * i, c - d * j) for r, c in now for i, j in taps}
        now = {(r, c) for r, c in now if 0 <= r < size and 0 <= c < size}
    field = np.zeros((size, size), bool)
    for r, c in now:
        field[r, c] = True
    return field


# %% q2: nothing is seen
def seen(kernels, dilations, size, place):
    return np.zeros((size, size), bool)


# %% q3: the logarithm of the plain difference
def mixture_log_prob(k, logits, loc, log_scale, levels):
    k, scale = k[..., None], log_scale.exp()
    upper = ((k + 0.5 - loc) / scale).sigmoid().masked_fill(k == levels - 1, 1)
    lower = ((k - 0.5 - loc) / scale).sigmoid().masked_fill(k == 0, 0)
    return (logits.softmax(-1) * (upper - lower)).sum(-1).log()


# %% q3: the difference clamped before its logarithm
def mixture_log_prob(k, logits, loc, log_scale, levels):
    k, scale = k[..., None], log_scale.exp()
    upper = ((k + 0.5 - loc) / scale).sigmoid().masked_fill(k == levels - 1, 1)
    lower = ((k - 0.5 - loc) / scale).sigmoid().masked_fill(k == 0, 0)
    each = (upper - lower).clamp(min=1e-12).log()
    return (logits.log_softmax(-1) + each).logsumexp(-1)


# %% q3: no edge bins, and the density at the centre of the bin
def mixture_log_prob(k, logits, loc, log_scale, levels):
    t = (k[..., None] - loc) / log_scale.exp()
    each = F.logsigmoid(t) + F.logsigmoid(-t) - log_scale
    return (logits.log_softmax(-1) + each).logsumexp(-1)


# %% q3: no edge bins
def mixture_log_prob(k, logits, loc, log_scale, levels):
    k, scale = k[..., None], log_scale.exp()
    a, b = (k + 0.5 - loc) / scale, (k - 0.5 - loc) / scale
    each = F.logsigmoid(a) + F.logsigmoid(-b)
    return (logits.log_softmax(-1) + each).logsumexp(-1)


# %% q3: mean of the logarithms
def mixture_log_prob(k, logits, loc, log_scale, levels):
    k, scale = k[..., None], log_scale.exp()
    upper = ((k + 0.5 - loc) / scale).sigmoid().masked_fill(k == levels - 1, 1)
    lower = ((k - 0.5 - loc) / scale).sigmoid().masked_fill(k == 0, 0)
    return (logits.softmax(-1) * (upper - lower).log()).sum(-1)


# %% q3: uniform over the levels
def mixture_log_prob(k, logits, loc, log_scale, levels):
    return -torch.log(torch.tensor(float(levels))) * torch.ones_like(k)


# %% q4: the opposite sign
def pull(k, loc, scale, levels):
    upper = np.where(k == levels - 1, 1.0, sigmoid((k + 0.5 - loc) / scale))
    lower = np.where(k == 0, 0.0, sigmoid((k - 0.5 - loc) / scale))
    return (1 - upper - lower) / scale


# %% q4: no edge bins
def pull(k, loc, scale, levels):
    upper, lower = ((k + side - loc) / scale for side in (0.5, -0.5))
    return (sigmoid(upper) + sigmoid(lower) - 1) / scale


# %% q4: the factor 1 / s is missing
def pull(k, loc, scale, levels):
    upper = np.where(k == levels - 1, 1.0, sigmoid((k + 0.5 - loc) / scale))
    lower = np.where(k == 0, 0.0, sigmoid((k - 0.5 - loc) / scale))
    return upper + lower - 1


# %% q4: as for a Gaussian
def pull(k, loc, scale, levels):
    return (k - loc) / scale**2


# %% q4: a division by the difference of sigmoids
def pull(k, loc, scale, levels):
    upper = np.where(k == levels - 1, 1.0, sigmoid((k + 0.5 - loc) / scale))
    lower = np.where(k == 0, 0.0, sigmoid((k - 0.5 - loc) / scale))
    slopes = upper * (1 - upper) - lower * (1 - lower)
    return -slopes / scale / (upper - lower)


# %% q4: zeros
def pull(k, loc, scale, levels):
    return np.zeros(len(k))


# %% q5: the walk for both
def fill_hole(p, known):
    at_known = tuple(slice(None) if value is None else value for value in known)
    walk = np.ones_like(p)
    for t, value in enumerate(known):
        if value is None:
            up_to = p.sum(tuple(range(t + 1, p.ndim)), keepdims=True)
            walk = walk * up_to / up_to.sum(t, keepdims=True)
    return walk[at_known], walk[at_known]


# %% q5: missing pixels by their marginals
def fill_hole(p, known):
    at_known = tuple(slice(None) if value is None else value for value in known)
    walk = np.ones_like(p)
    for t, value in enumerate(known):
        if value is None:
            others = tuple(s for s in range(p.ndim) if s != t)
            walk = walk * p.sum(others, keepdims=True)
    return p[at_known] / p[at_known].sum(), walk[at_known]


# %% q5: the exact way is not normalised
def fill_hole(p, known):
    at_known = tuple(slice(None) if value is None else value for value in known)
    walk = np.ones_like(p)
    for t, value in enumerate(known):
        if value is None:
            up_to = p.sum(tuple(range(t + 1, p.ndim)), keepdims=True)
            walk = walk * up_to / up_to.sum(t, keepdims=True)
    return p[at_known], walk[at_known]


# %% q5: the divergence with its arguments exchanged
def hole_gap(p, missing):
    total = 0.0
    for values in np.ndindex(*[2] * (p.ndim - len(missing))):
        rest = iter(values)
        known = [None if t in missing else next(rest) for t in range(p.ndim)]
        exact, walk = fill_hole(p, known)
        weight = p[tuple(slice(None) if v is None else v for v in known)].sum()
        total += weight * (walk * np.log(walk / exact)).sum()
    return total


# %% q5: the mean over known pixels is not weighted
def hole_gap(p, missing):
    total, n = 0.0, p.ndim - len(missing)
    for values in np.ndindex(*[2] * n):
        rest = iter(values)
        known = [None if t in missing else next(rest) for t in range(p.ndim)]
        exact, walk = fill_hole(p, known)
        total += (exact * np.log(exact / walk)).sum() / 2**n
    return total


# %% q5: in bits
def hole_gap(p, missing):
    total = 0.0
    for values in np.ndindex(*[2] * (p.ndim - len(missing))):
        rest = iter(values)
        known = [None if t in missing else next(rest) for t in range(p.ndim)]
        exact, walk = fill_hole(p, known)
        weight = p[tuple(slice(None) if v is None else v for v in known)].sum()
        total += weight * (exact * np.log2(exact / walk)).sum()
    return total


# %% q5: zero
def hole_gap(p, missing):
    return 0.0


# %% q6: nats in place of bits
test_bpd, bits_back, bits_all, gain_error = 1.39, 1.96, 1.65, 0.032

# %% q6: the error of an unpaired difference
test_bpd, bits_back, bits_all, gain_error = 2.0, 2.82, 2.39, 0.118

# %% q6: the standard deviation in place of the standard error
test_bpd, bits_back, bits_all, gain_error = 2.0, 2.82, 2.39, 0.9

# %% q6: the missing pixel's own probability, normalised over the level: no later pixels
test_bpd, bits_back, bits_all, gain_error = 2.0, 2.82, 2.82, 0.0

# %% q6: the mean over all pixels in place of the missing one
test_bpd, bits_back, bits_all, gain_error = 2.0, 2.0, 1.7, 0.046

# %% q6: zeros
test_bpd, bits_back, bits_all, gain_error = 0.0, 0.0, 0.0, 0.0
