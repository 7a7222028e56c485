"""A batch of examples through a coder, position by position, as an autoregressive model draws them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lvmlib.autoregressive import Autoregressive
from lvmlib.compression.framing import CORRUPT, header, read_header
from lvmlib.compression.queue import Decoder, Encoder
from lvmlib.compression.tables import slots

ROWS = 256  # examples that go through the model together: bounds the memory of its cache
SEALS = 1 << 7  # values of the checksum at the end


def encode_examples(model: Autoregressive, x: Tensor, framed: bool, context: Tensor | None) -> bytes:
    """Examples [n, *event_shape] -> the code; see `arithmetic_encode`."""
    values = model.check(x).flatten(1)  # [n, D]
    encoder = Encoder()

    def code(rows: slice, position: int, starts: np.ndarray) -> Tensor:
        symbols = values[rows, position]
        encoder.push(symbols, starts)
        return symbols

    walk(model, len(values), context, code)
    data = _end(encoder, values)
    return header(len(values), context is not None) + data if framed else data


def decode_examples(model: Autoregressive, data: bytes, n: int | None, context: Tensor | None) -> Tensor:
    """The code of n examples -> [n, *event_shape]; see `arithmetic_decode`."""
    if n is None:
        n, data = read_header(data, context is not None)
    _check_number(n, data)
    encoder, decoder = Encoder(), Decoder(data)

    def code(rows: slice, position: int, starts: np.ndarray) -> Tensor:
        symbols = decoder.pop(starts)
        encoder.push(symbols, starts)
        if encoder.written > len(data):
            raise ValueError(CORRUPT)
        return torch.from_numpy(symbols)

    values = walk(model, n, context, code)
    if _end(encoder, values) != bytes(data):
        raise ValueError(CORRUPT)
    return values.view(n, *model.event_shape)


def walk(
    model: Autoregressive, n: int, context: Tensor | None, code: Callable[[slice, int, np.ndarray], Tensor]
) -> Tensor:
    """Visit all positions of n examples as the sampler does: what ``code(rows, position, starts)`` says stands there.

    Encoding and decoding both go this way, so that their probabilities are the same to the last bit.

    Args:
        model: run in evaluation mode.
        n: number of examples.
        context: for the model, [n, ...] or labels [n].
        code: encodes or decodes the symbols [rows] at one position with their tables of slots [rows, K + 1].

    Returns:
        [n, D], in float32 or the dtype of the weights, if that is longer.
    """
    context, parts = model.read_context(context, n), []
    with evaluation(model), torch.no_grad():
        for first in range(0, n, ROWS):
            rows = slice(first, min(first + ROWS, n))
            known = torch.zeros(rows.stop - first, model.dims, dtype=model.value_dtype, device=model.order.device)
            step = model.steps(len(known), None if context is None else context[rows])
            for t, position in enumerate(model.order.tolist()):
                table = model.family.table(step(t, known).cpu().double())  # [rows, K]
                known[:, position] = code(rows, position, slots(table)).to(known)
            parts.append(known)
    return torch.cat(parts)


def seal(values: Tensor) -> int:
    """A checksum of all symbols: codes of two models may end alike, their symbols then seldom do."""
    return zlib.crc32(values.long().cpu().numpy().astype("<i8").tobytes()) % SEALS


def _end(encoder: Encoder, values: Tensor) -> bytes:
    """The seal, and at least one bit for each example, so that its length bounds how many a code may announce."""
    encoder.push(seal(values), slots(np.full(SEALS, 1 / SEALS)))
    return encoder.finish().ljust(-(-len(values) // 8), b"\0")


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, or dropout would make of each side a model of its own."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check_number(n: int, data: bytes) -> None:
    """Before so much memory is asked for."""
    if not 1 <= n <= 8 * len(data):
        raise ValueError(
            f"the data announce {n} examples in {len(data)} bytes, which hold 1 to {8 * len(data)}: cut short, corrupt,"
            " or from another model"
        )
