"""Data sets as three in-memory splits: `load(name)` gives train, valid and test, each a `Data`.

A split is one tensor, and a batch is one indexing of it: nothing here needs worker processes. MNIST, the text, the
emoji and the spoken words lie inside the package and the 8x8 digits come with scikit-learn; the other two sets are
fetched once and kept (see `lvmlib.downloads`).

============= ================= =========================== ========================================================
name          one example       train / valid / test        licence
============= ================= =========================== ========================================================
mnist         uint8 [1, 28, 28] 50,000 / 10,000 / 10,000    CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. J. C. Burges)
digits        uint8 [1, 8, 8]   1,257 / 180 / 360           CC BY 4.0 (E. Alpaydin, C. Kaynak; with scikit-learn)
text          uint8 []          80,776 / 5,024 / 9,842      public domain (Shakespeare's Sonnets, all 154)
emoji         uint8 [3, 32, 32] 905 / 60 / 120              OFL 1.1 (Google; from the font Noto Color Emoji)
speech        uint8 [5000]      134 / 16 / 24               CC BY-SA 3.0 (Allison Smith; Asterisk's voice prompts)
fashion-mnist uint8 [1, 28, 28] 50,000 / 10,000 / 10,000    MIT (Zalando SE)
cifar-10      uint8 [3, 32, 32] 45,000 / 5,000 / 10,000     none stated; A. Krizhevsky asks for a citation
============= ================= =========================== ========================================================

A note on source, licence and making lies beside each shipped set (`datasets/emoji.md`, for instance). Omniglot and the
ORL faces are not here: no undamaged copy was at hand from which to take a SHA-256, and nothing is loaded unverified.
"""

from lvmlib.data.audio import mu_law_decode, mu_law_encode
from lvmlib.data.labels import EMOJI_GROUPS, SPEECH_WORDS
from lvmlib.data.sets import STATIC_SEED, Data, load

__all__ = ["EMOJI_GROUPS", "SPEECH_WORDS", "STATIC_SEED", "Data", "load", "mu_law_decode", "mu_law_encode"]
