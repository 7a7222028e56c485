"""The network in which masks take connections away, so that an output sees only the inputs it may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lvmlib.checks import check_count, check_counts, check_seed, check_sizes
from lvmlib.networks.masked_linear import MaskedLinear


class MaskedMLP(nn.Module):
    r"""A multilayer perceptron whose outputs for a position depend on the inputs at earlier positions only.

    Each input carries a degree, its place 1, ..., D in the order, and each hidden unit a degree :math:`m` from 1 to
    D - 1. A unit takes inputs of degrees up to its own, and the outputs of the t-th position take units of degrees
    below t:

    .. math:: M^{\ell}_{kj} = \mathbf{1}[m^{\ell}_k \ge m^{\ell - 1}_j], \qquad
        M^{\text{out}}_{tj} = \mathbf{1}[t > m^{L}_j]

    So no path leads from an input to an output at its own or an earlier position. With a context there are also units
    of degree 0, which see nothing but the context; through them it reaches the first position.

    Args:
        dims: number of inputs, D.
        hidden: widths of the hidden layers; may be empty.
        outputs: number of outputs for each position, P.
        context: number of entries of a context vector; None for none. It enters the first layer, without a bias.
        order: [D], the positions from first to last; as they are stored by default.
        degrees: "even" spreads the degrees of a layer evenly over their range; "random" draws them uniformly from the
            smallest degree of the layer below upwards.
        masks: number of mask sets. The first is described by `order` and `degrees`. Each other draws an order of its
            own, unless `order` is given, and its degrees, or with "even" which unit has which. See `use`.
        seed: of what is drawn for masks.
        activation: makes the nonlinearity.
        residual: add to each hidden layer but the first the layer below; all layers then have one width and the same
            degrees.
        direct: add a masked linear map straight from the inputs to the outputs. Where the hidden layers are narrower
            than the input, some positions have no unit that sees the input just before them; through this map they do.

    Raises:
        ValueError: an empty layer, an order that is no permutation, residual layers of several widths.

    Example:
        >>> import torch
        >>> from lvmlib.networks import MaskedMLP
        >>> net = MaskedMLP(4, (16, 16), outputs=2)
        >>> net(torch.zeros(3, 4)).shape
        torch.Size([3, 2, 4])

    Source: Germain et al. 2015, *MADE*, equations 8 to 13.
    """

    orders: Tensor
    degrees: Tensor
    mask_set: Tensor

    def __init__(
        self,
        dims: int,
        hidden: Sequence[int],
        outputs: int,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
        degrees: str = "even",
        masks: int = 1,
        seed: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
        residual: bool = False,
        direct: bool = False,
    ):
        super().__init__()
        hidden, seed = list(check_sizes(hidden, "hidden")), check_seed(seed)
        dims, outputs, masks = check_counts(dims=dims, outputs=outputs, masks=masks)
        context = None if context is None else check_count(context, "context", "counts entries")
        if degrees not in ("even", "random"):
            raise ValueError(f'degrees must be "even" or "random", but it is {degrees!r}.')
        if residual and len(set(hidden)) > 1:
            raise ValueError(f"Residual layers must have one width, but hidden is {tuple(hidden)}.")
        # Masks are drawn on the CPU, whatever the default device is, so that they are the same everywhere.
        first = torch.arange(dims, device="cpu") if order is None else torch.as_tensor(order).long().cpu()
        if first.dim() != 1 or sorted(first.tolist()) != list(range(dims)):
            raise ValueError(f"order must name each of the {dims} positions 0..{dims - 1} once, but it is {order}.")
        self.dims, self.hidden, self.outputs, self.residual = dims, hidden, outputs, residual
        generator = torch.Generator("cpu").manual_seed(seed)
        lowest = min(0 if context is not None else 1, dims - 1)
        orders, tables = [first], [_degrees(dims, hidden, lowest, degrees, residual, generator)]
        for _ in range(masks - 1):
            orders.append(first if order is not None else torch.randperm(dims, generator=generator, device="cpu"))
            tables.append(_degrees(dims, hidden, lowest, degrees, residual, generator, shuffled=True))
        # With the weights on disk go the masks that they were trained with.
        here = torch.empty(0).device
        self.register_buffer("orders", torch.stack(orders).to(here))  # [masks, D]
        self.register_buffer("degrees", torch.stack(tables).to(here))  # [masks, sum of the widths]
        self.register_buffer("mask_set", torch.tensor(0), persistent=masks > 1)
        self.activation = activation()
        connections = self._connections()
        self.layers: Sequence[MaskedLinear] = nn.ModuleList(  # type: ignore[assignment]
            MaskedLinear(m.shape[1], m) for m in connections[:-1]
        )
        self.output = MaskedLinear(connections[-1].shape[1], connections[-1], outputs)
        self.direct = MaskedLinear(dims, self._straight(), outputs, bias=False) if direct else None
        with torch.no_grad():  # near 0 at the start, wherever the input is
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
            if self.direct is not None:
                self.direct.weight.mul_(0.1)
        width = hidden[0] if hidden else outputs * dims
        self.context_map = None if context is None else nn.Linear(context, width, bias=False)
        self.register_load_state_dict_post_hook(_renew_masks)

    @property
    def order(self) -> Tensor:
        """The positions from first to last, [D], in the mask set that is in use."""
        return self.orders[int(self.mask_set)]

    def use(self, mask_set: int) -> None:
        """Go over to another mask set.

        Raises:
            ValueError: there is no such set.
        """
        mask_set = check_count(mask_set, "mask_set", "counts from 0", least=0)
        if mask_set >= len(self.orders):
            raise ValueError(f"The mask sets are 0 to {len(self.orders) - 1}, but {mask_set} was asked for.")
        with torch.inference_mode(False):  # masks that are made in inference mode could never be trained with
            self.mask_set = torch.full_like(self.mask_set, mask_set)
            for layer, mask in zip([*self.layers, self.output], self._connections()):
                layer.renew(mask)
            if self.direct is not None:
                self.direct.renew(self._straight())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Outputs of all positions in one pass.

        Args:
            x: [B, D].
            context: [B, C] or None, which is a context of zeros.

        Returns:
            [B, P, D].
        """
        h = x
        for i, layer in enumerate(self.layers):
            z = self.activation(layer(h) if i or context is None else layer(h) + self._context(context))
            h = h + z if self.residual and i else z
        y = self.output(h)
        if self.direct is not None:
            y = y + self.direct(x)
        if context is not None and not self.hidden:
            y = y + self._context(context)
        return y.view(-1, self.outputs, self.dims)

    def steps(self, n: int, context: Tensor | None = None) -> Callable[[int, Tensor | None], Tensor]:
        """The same position by position, computing each hidden unit once.

        Once the first t inputs of the order are known, so are all units of degree t. Sorted by degree they lie side by
        side, so a step is a product of a few rows with what came before. All D steps together do the arithmetic of one
        pass, in D short pieces; several inputs that are known at once are read in one piece. Units lie in rows, so that
        what a step reads and writes is one stretch of memory. Gradients flow.

        Args:
            n: number of rows.
            context: [n, C] or None.

        Returns:
            ``step(t, new)`` for rising t: it returns the outputs [n, P] of position ``order[t]``. `new` holds the
            inputs, in the order, that no step was given yet: [n, j], or [n] for a single one; None for t = 0.
        """
        order, P, D = self.order, self.outputs, self.dims
        degrees = self._hidden_degrees()
        units = [order, *(m.argsort(stable=True) for m in degrees)]  # of each layer, by degree
        known = [torch.bucketize(torch.arange(D, device=m.device), m.sort().values, right=True) for m in degrees]
        ends = [k.tolist() for k in known]  # how many units have degrees up to t
        weights = [(layer.mask * layer.weight)[to][:, of] for layer, of, to in zip(self.layers, units, units[1:])]
        offsets = [layer.bias[to, None] for layer, to in zip(self.layers, units[1:])]
        last_weight = self.output.weight.view(P, D, -1)[:, order][:, :, units[-1]].movedim(1, 0).contiguous().unbind()
        offset = self.output.bias[None]  # [1 or n, P * D]
        if context is not None and self.hidden:
            offsets[0] = offsets[0] + self._context(context).t()[units[1]]
        elif context is not None:
            offset = offset + self._context(context)
        last_offset = offset.view(-1, P, D).movedim(0, 2)[:, order].unbind(1)  # D times [P, 1 or n]
        straight = None
        if self.direct is not None:
            straight = self.direct.weight.view(P, D, D)[:, order][:, :, order].movedim(1, 0).contiguous()  # [D, P, D]
        inputs = _Rows(self.output.weight, D, n)
        layers = list(zip(weights, offsets, ends, [_Rows(self.output.weight, width, n) for width in self.hidden]))

        def step(t: int, new: Tensor | None) -> Tensor:
            if new is not None:
                inputs.add(new.view(n, -1).t(), t)
            below, count = inputs.first(t), t
            for i, (weight, offset, end, units) in enumerate(layers):
                a, b = units.filled, end[t]
                if a < b:
                    h = self.activation(torch.addmm(offset[a:b], weight[a:b, :count], below))
                    units.add(h + below[a:b] if self.residual and i else h, b)
                below, count = units.first(b), b
            y = torch.addmm(last_offset[t], last_weight[t][:, :count], below)
            return (y if straight is None else torch.addmm(y, straight[t, :, :t], inputs.first(t))).t()

        return step

    def _context(self, context: Tensor) -> Tensor:
        if self.context_map is None:
            raise ValueError("This MaskedMLP was built without a context; pass context=<number of its entries>.")
        return self.context_map(context)

    def _hidden_degrees(self) -> list[Tensor]:
        return list(self.degrees[int(self.mask_set)].split(self.hidden))

    def _straight(self) -> Tensor:
        """The mask from inputs to outputs: [D, D], true where the input comes before."""
        place = self.order.argsort()
        return place[:, None] > place

    def _connections(self) -> list[Tensor]:
        """The masks of all layers, true where a connection exists."""
        place = self.order.argsort() + 1
        degrees = [place, *self._hidden_degrees()]
        return [b[:, None] >= a for a, b in zip(degrees, degrees[1:])] + [place[:, None] > degrees[-1]]


class _Rows:
    """A matrix [height, n] that fills from the top; a new one each time under a graph, which keeps what it has seen."""

    def __init__(self, like: Tensor, height: int, n: int):
        self.values, self.filled, self.grows = like.new_zeros(height, n), 0, torch.is_grad_enabled()

    def add(self, new: Tensor, up_to: int) -> None:
        if self.grows:
            self.values = torch.cat([self.values[: self.filled], new])
        else:
            self.values[self.filled : up_to] = new
        self.filled = up_to

    def first(self, count: int) -> Tensor:
        return self.values[:count]


def _renew_masks(net: MaskedMLP, _: object) -> None:
    net.use(int(net.mask_set))


def _degrees(
    dims: int, hidden: Sequence[int], lowest: int, kind: str, residual: bool, generator: torch.Generator,
    shuffled: bool = False,
) -> Tensor:  # fmt: skip
    """Degrees of all hidden units, layer after layer, from `lowest` to D - 1; [sum of the widths]."""
    layers: list[Tensor] = []
    for width in hidden:
        if residual and layers:
            m = layers[0]
        elif kind == "random":
            lowest = int(layers[-1].min()) if layers else lowest  # a lower one would see nothing
            m = torch.randint(lowest, max(dims, lowest + 1), (width,), generator=generator, device="cpu")
        else:
            m = lowest + torch.arange(width, device="cpu") * (dims - lowest) // width
            m = m[torch.randperm(width, generator=generator, device="cpu")] if shuffled else m
        layers.append(m)
    return torch.cat(layers) if layers else torch.empty(0, dtype=torch.long, device="cpu")
