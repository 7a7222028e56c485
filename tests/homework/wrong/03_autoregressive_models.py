# %% imports
import math

import torch
import torch.nn.functional as F


# %% q1: the exponentials overflow
def log_prob(logits, x):
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return p.gather(-1, x[..., None])[..., 0].log().sum(1)


# %% q1: the logit without the normaliser
def log_prob(logits, x):
    return logits.gather(-1, x[..., None])[..., 0].sum(1)


# %% q1: the mean over the pixels
def log_prob(logits, x):
    return logits.log_softmax(-1).gather(-1, x[..., None])[..., 0].mean(1)


# %% q1: normalised over the pixels
def log_prob(logits, x):
    return logits.log_softmax(1).gather(-1, x[..., None])[..., 0].sum(1)


# %% q1: the sign of a loss
def log_prob(logits, x):
    return F.cross_entropy(logits.mT, x, reduction="none").sum(1)


# %% q1: in bits
def log_prob(logits, x):
    log_p = logits.log_softmax(-1).gather(-1, x[..., None])[..., 0]
    return log_p.sum(1) / math.log(2)


# %% q1: the gradient of the loss
def log_prob_gradient(logits, x):
    return logits.softmax(-1) - F.one_hot(x, logits.shape[-1])


# %% q1: the gradient at the value alone
def log_prob_gradient(logits, x):
    hot = F.one_hot(x, logits.shape[-1])
    return hot * (1 - logits.softmax(-1))


# %% q1: zeros
def log_prob(logits, x):
    return torch.zeros(len(x))


# %% q2: type B everywhere, and each pixel sees itself
def made_masks(order, hidden, values):
    place = torch.tensor([order.index(i) + 1 for i in range(len(order))])
    visible = place.repeat_interleave(values)
    degrees = [visible, *(torch.tensor(layer) for layer in hidden), visible]
    pairs = zip(degrees, degrees[1:])
    return [(above[:, None] >= below).float() for below, above in pairs]


# %% q2: type A everywhere
def made_masks(order, hidden, values):
    place = torch.tensor([order.index(i) + 1 for i in range(len(order))])
    visible = place.repeat_interleave(values)
    degrees = [visible, *(torch.tensor(layer) for layer in hidden), visible]
    pairs = zip(degrees, degrees[1:])
    return [(above[:, None] > below).float() for below, above in pairs]


# %% q2: the order taken for the degrees
def made_masks(order, hidden, values):
    visible = (torch.tensor(order) + 1).repeat_interleave(values)
    degrees = [visible, *(torch.tensor(layer) for layer in hidden)]
    masks = [above[:, None] >= below for below, above in zip(degrees, degrees[1:])]
    return [mask.float() for mask in (*masks, visible[:, None] > degrees[-1])]


# %% q2: values outside, pixels inside
def made_masks(order, hidden, values):
    place = torch.tensor([order.index(i) + 1 for i in range(len(order))])
    visible = place.repeat(values)
    degrees = [visible, *(torch.tensor(layer) for layer in hidden)]
    masks = [above[:, None] >= below for below, above in zip(degrees, degrees[1:])]
    return [mask.float() for mask in (*masks, visible[:, None] > degrees[-1])]


# %% q2: degrees from 0
def made_masks(order, hidden, values):
    place = torch.tensor([order.index(i) for i in range(len(order))])
    visible = place.repeat_interleave(values)
    degrees = [visible, *(torch.tensor(layer) for layer in hidden)]
    masks = [above[:, None] >= below for below, above in zip(degrees, degrees[1:])]
    return [mask.float() for mask in (*masks, visible[:, None] > degrees[-1])]


# %% q2: a degree of its own for each value
def made_masks(order, hidden, values):
    place = torch.tensor([order.index(i) for i in range(len(order))])
    visible = (place[:, None] * values + torch.arange(values)).flatten() + 1
    degrees = [visible, *(torch.tensor(layer) for layer in hidden)]
    masks = [above[:, None] >= below for below, above in zip(degrees, degrees[1:])]
    return [mask.float() for mask in (*masks, visible[:, None] > degrees[-1])]


# %% q2: the weights are not masked
def made_logits(x, weights, biases, masks):
    values = weights[0].shape[1] // x.shape[1]
    h = F.one_hot(x, values).flatten(1).to(weights[0])
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        h = F.linear(h.relu() if i else h, weight, bias)
    return h.view(*x.shape, values)


# %% q2: a ReLU after the last layer
def made_logits(x, weights, biases, masks):
    values = weights[0].shape[1] // x.shape[1]
    h = F.one_hot(x, values).flatten(1).to(weights[0])
    for weight, bias, mask in zip(weights, biases, masks):
        h = F.linear(h, weight * mask.to(weight), bias).relu()
    return h.view(*x.shape, values)


# %% q2: no nonlinearity
def made_logits(x, weights, biases, masks):
    values = weights[0].shape[1] // x.shape[1]
    h = F.one_hot(x, values).flatten(1).to(weights[0])
    for weight, bias, mask in zip(weights, biases, masks):
        h = F.linear(h, weight * mask.to(weight), bias)
    return h.view(*x.shape, values)


# %% q2: outputs read as values by pixels
def made_logits(x, weights, biases, masks):
    values = weights[0].shape[1] // x.shape[1]
    h = F.one_hot(x, values).flatten(1).to(weights[0])
    for i, (weight, bias, mask) in enumerate(zip(weights, biases, masks)):
        h = F.linear(h.relu() if i else h, weight * mask.to(weight), bias)
    return h.view(len(x), values, -1).mT


# %% q2: zeros
def made_logits(x, weights, biases, masks):
    return torch.zeros(*x.shape, weights[0].shape[1] // x.shape[1])


# %% q3: the kernel the other way round
def causal_conv(x, weight, bias, dilation, shift):
    back = (weight.shape[2] - 1) * dilation + shift
    h = F.conv1d(F.pad(x, (back, 0)), weight, bias, dilation=dilation)
    return h[..., : x.shape[2]]


# %% q3: the shift is forgotten
def causal_conv(x, weight, bias, dilation, shift):
    back = (weight.shape[2] - 1) * dilation
    return F.conv1d(F.pad(x, (back, 0)), weight.flip(2), bias, dilation=dilation)


# %% q3: centred
def causal_conv(x, weight, bias, dilation, shift):
    back = (weight.shape[2] - 1) * dilation
    pad = (back // 2, back - back // 2)
    return F.conv1d(F.pad(x, pad), weight.flip(2), bias, dilation=dilation)


# %% q3: the shift dilated too
def causal_conv(x, weight, bias, dilation, shift):
    back = (weight.shape[2] - 1 + shift) * dilation
    h = F.conv1d(F.pad(x, (back, 0)), weight.flip(2), bias, dilation=dilation)
    return h[..., : x.shape[2]]


# %% q3: all lags up to the receptive field
def lags(layers):
    first = sum(shift for _, _, shift in layers)
    reach = sum((kernel - 1) * dilation for kernel, dilation, _ in layers)
    return list(range(first, first + reach + 1))


# %% q3: the lags of the layers side by side
def lags(layers):
    return sorted({s + j * d for kernel, d, s in layers for j in range(kernel)})


# %% q3: kernel times dilation
def lags(layers):
    reached = {0}
    for kernel, dilation, shift in layers:
        reached = {a + shift + j * dilation for a in reached for j in range(kernel + 1)}
    return sorted(reached)


# %% q3: the shift counted once
def lags(layers):
    reached = {int(any(shift for _, _, shift in layers))}
    for kernel, dilation, _ in layers:
        reached = {a + j * dilation for a in reached for j in range(kernel)}
    return sorted(reached)


# %% q3: zeros
def causal_conv(x, weight, bias, dilation, shift):
    return torch.zeros(len(x), len(weight), x.shape[2])


# %% q4: in the order of the positions
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    for i in range(u.shape[1]):
        p = made_logits(x, weights, biases, masks)[:, i].softmax(1)
        x[:, i] = (u[:, i, None] >= p.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q4: all pixels at once
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    p = made_logits(x, weights, biases, masks).softmax(2)
    return (u[..., None] >= p.cumsum(2)[..., :-1]).sum(2)


# %% q4: the column of the step and not of the pixel
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    for t, i in enumerate(order):
        p = made_logits(x, weights, biases, masks)[:, i].softmax(1)
        x[:, i] = (u[:, t, None] >= p.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q4: the most probable value
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    for i in order:
        x[:, i] = made_logits(x, weights, biases, masks)[:, i].argmax(1)
    return x


# %% q4: counted from the other end
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    for i in order:
        p = made_logits(x, weights, biases, masks)[:, i].softmax(1)
        x[:, i] = (1 - u[:, i, None] >= p.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q4: probabilities not added up
def draw(order, weights, biases, masks, u):
    x = torch.zeros(u.shape, dtype=torch.long)
    for i in order:
        p = made_logits(x, weights, biases, masks)[:, i].softmax(1)
        x[:, i] = (u[:, i, None] >= p[:, :-1]).sum(1)
    return x


# %% q4: zeros
def draw(order, weights, biases, masks, u):
    return torch.zeros(u.shape, dtype=torch.long)


# %% q5: in nats
bits_independent, bits_above, bits_made = (b * math.log(2) for b in (bits_independent, bits_above, bits_made))
bits_by_row = [b * math.log(2) for b in bits_by_row]

# %% q5: per pixel
bits_independent, bits_above, bits_made = (b / 64 for b in (bits_independent, bits_above, bits_made))

# %% q5: on the training images
log_p = made_logits(train, *net).log_softmax(2)
cost_of_training = -log_p.gather(2, train[..., None])[..., 0] / math.log(2)
bits_made = cost_of_training.sum(1).mean().item()
bits_by_row = cost_of_training.mean(0).view(8, 8).sum(1).tolist()
share = (bits_independent - bits_above) / (bits_independent - bits_made)

# %% q5: a net that sees the pixel it predicts
weights, biases, masks = net
leak = [masks[0], torch.ones_like(masks[1])]
log_p = made_logits(test, weights, biases, leak).log_softmax(2)
bits_made = -log_p.gather(2, test[..., None]).sum().item() / len(test) / math.log(2)

# %% q5: the pixel to the left in place of the one above
bits_above = cost(lambda x: F.pad(x, (1, 0))[:, :64], 0.25).sum(1).mean().item()
share = (bits_independent - bits_above) / (bits_independent - bits_made)

# %% q5: a training run of 60 steps
by_past = -made_logits(test, *train_made(0, 60)).log_softmax(2)
by_past = by_past.gather(2, test[..., None])[..., 0] / math.log(2)
bits_made = by_past.sum(1).mean().item()
bits_by_row = by_past.mean(0).view(8, 8).sum(1).tolist()
share = (bits_independent - bits_above) / (bits_independent - bits_made)

# %% q5: twice as many steps, into overfitting
by_past = -made_logits(test, *train_made(0, 600)).log_softmax(2)
by_past = by_past.gather(2, test[..., None])[..., 0] / math.log(2)
bits_made = by_past.sum(1).mean().item()
bits_by_row = by_past.mean(0).view(8, 8).sum(1).tolist()
share = (bits_independent - bits_above) / (bits_independent - bits_made)

# %% q5: the share of the bits and not of the gain
share = bits_made / bits_above

# %% q5: columns for rows
bits_by_row = by_past.mean(0).view(8, 8).sum(0).tolist()
