"""Lossless codes: symbol codes, and stream codes that turn a model's probabilities into bits and back.

- `codes`: a whole number of bits for each symbol. Prefix codes and Huffman's.
- `arithmetic`: any stream of symbols, or a batch of examples of an `Autoregressive` model.
- `queue`: the range coder below it, first in, first out.
- `stack`: an ANS coder, last in, first out.
- `bits_back`: examples of a model with latent variables, on that stack.
- `tables`: the integers that both coders know in place of probabilities.
"""

from lvmlib.compression.arithmetic import arithmetic_decode, arithmetic_encode
from lvmlib.compression.bits_back import bits_back_decode, bits_back_encode
from lvmlib.compression.codes import huffman_code, kraft_sum, prefix_code, prefix_decode
from lvmlib.compression.queue import Decoder, Encoder
from lvmlib.compression.stack import Stack
from lvmlib.compression.tables import TOTAL, slots

__all__ = [
    "TOTAL",
    "Decoder",
    "Encoder",
    "Stack",
    "arithmetic_decode",
    "arithmetic_encode",
    "bits_back_decode",
    "bits_back_encode",
    "huffman_code",
    "kraft_sum",
    "prefix_code",
    "prefix_decode",
    "slots",
]
