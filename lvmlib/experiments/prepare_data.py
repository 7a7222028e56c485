"""Rebuild the two data files `emoji.xz` and `speech.xz` from three Debian packages.

    python -m lvmlib.experiments.prepare_data --out FOLDER

The packages are `fonts-noto-color-emoji` (2.042), `unicode-data` (15.0.0) and `asterisk-core-sounds-en-wav` (1.6.1).
`--root` names the folder that they were unpacked into, with `dpkg -x` for instance; installed, they lie under `/`.
Besides the library this needs fontTools and Pillow, which come with matplotlib. All arithmetic on pictures is in whole
numbers, so the unpacked bytes are the same on every machine; the packed ones depend on the release of liblzma.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import lzma
import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lvmlib.data import EMOJI_GROUPS, SPEECH_WORDS, mu_law_encode

FONT = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
NAMES = "usr/share/unicode/emoji/emoji-test.txt"
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"

# ---------------------------------------------------------------------------------------------- emoji

# Clock faces differ in two thin hands; figures in full, families and silhouettes do not survive 32 x 32 pixels.
LEFT_OUT = {"time", "family", "person-symbol", "person-activity", "person-sport", "person-resting"}
# Of a person drawn in several genders the neutral drawing stays. An insult has no place in a classroom.
LEFT_OUT_NAMES = {
    *("boy", "girl", "man", "woman", "old man", "old woman", "pregnant man", "pregnant woman", "prince", "princess"),
    *("Mrs. Claus", "middle finger"),
}


def listed_emoji(text: str) -> Iterator[tuple[int, str, list[int]]]:
    """Yield group, name and code points of each emoji wanted, in Unicode's order, from `emoji-test.txt`."""
    group = subgroup = ""
    for line in text.splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        found = re.match(r"([0-9A-F ]+); fully-qualified\s+# \S+ E[\d.]+ (.*)", line)
        if not found or group not in EMOJI_GROUPS or subgroup in LEFT_OUT or found[2] in LEFT_OUT_NAMES:
            continue
        codes = [code for code in (int(part, 16) for part in found[1].split()) if code != 0xFE0F]
        skin_tone = any(0x1F3FB <= code <= 0x1F3FF for code in codes)
        if not skin_tone and (len(codes) == 1 or group != "People & Body"):
            yield EMOJI_GROUPS.index(group), found[2], codes


def bitmaps(font: Path) -> dict[tuple[int, ...], bytes]:
    """Return the font's pictures, PNG files of 136 x 128 pixels, by their code points."""
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    tables = TTFont(font)
    names, strike = tables.getBestCmap(), tables["CBDT"].strikeData[0]
    codes = {name: code for code, name in names.items()}
    pictures: dict[tuple[int, ...], bytes] = {
        (code,): strike[name].imageData for code, name in names.items() if name in strike
    }
    for lookup in tables["GSUB"].table.LookupList.Lookup:
        for subtable in lookup.SubTable:
            for first, ligatures in getattr(subtable, "ligatures", {}).items():
                for ligature in ligatures:
                    parts = [first, *ligature.Component]
                    if ligature.LigGlyph in strike and all(part in codes for part in parts):
                        pictures[tuple(codes[part] for part in parts)] = strike[ligature.LigGlyph].imageData
    return pictures


def small_picture(png: bytes) -> np.ndarray:
    """Return a picture on white, uint8 [32, 32, 3], each pixel the mean of 4 x 4 of the font's, in whole numbers."""
    from PIL import Image

    rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(np.int64)  # [128, 136, 4]
    if rgba.shape != (128, 136, 4):
        raise ValueError(f"A picture of the font is {rgba.shape}, not 136 x 128 pixels; is it another release?")
    rgba = rgba[:, 4:-4]  # four empty columns on either side
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    on_white = colour * alpha + 255 * (255 - alpha)  # times 255
    total, parts = on_white.reshape(32, 4, 32, 4, 3).sum((1, 3)), 16 * 255
    return ((2 * total + parts) // (2 * parts)).astype(np.uint8)  # rounded to the nearest


def families(x: np.ndarray) -> np.ndarray:
    """Number the pictures so that those that look alike, directly or through others, share a number.

    Two look alike when their brightness, or that of one and the other's mirror image, correlates by more than 0.95 (the
    same heart in two colours, a camera with and without flash), or when they differ by less than 20 of 255 in root mean
    square.
    """
    grey = (x.astype(np.int64) @ np.array([299, 587, 114])).astype(np.float64)  # [N, 32, 32]
    flat, values = grey.reshape(len(x), -1), x.reshape(len(x), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    mirrored = flat.reshape(grey.shape)[:, :, ::-1].reshape(len(x), -1)
    square = (values**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * values @ values.T, 0) / values.shape[1])
    alike = (flat @ flat.T > 0.95) | (flat @ mirrored.T > 0.95) | (distance < 20)
    family = np.arange(len(x))
    for a, b in np.argwhere(np.triu(alike, 1)):
        family[family == family[b]] = family[a]
    return family


def emoji(root: Path, valid: int = 60, test: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N] and pictures [N, 32, 32, 3]: those for training, then `valid`, then `test`.

    Families stay in the training part. The other two are drawn from the rest, each group in proportion.
    """
    pictures = bitmaps(root / FONT)
    listed = list(listed_emoji((root / NAMES).read_text(encoding="utf-8")))
    y = np.array([group for group, _, _ in listed], np.uint8)
    x = np.stack([small_picture(pictures[tuple(codes)]) for _, _, codes in listed])
    random, family = np.random.RandomState(0), families(x)
    shuffled = random.permutation(len(x))
    single = np.array([i for i in shuffled if (family == family[i]).sum() == 1])
    # The r-th of the n members of a group goes to position (r + 1/2) / n: every stretch holds the groups in proportion.
    position = np.empty(len(single))
    for group in range(len(EMOJI_GROUPS)):
        members = y[single] == group
        position[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    held_out = single[np.argsort(position, kind="stable")][-(valid + test) :]
    order = np.concatenate([shuffled[~np.isin(shuffled, held_out)], held_out])
    return y[order], x[order]


# ---------------------------------------------------------------------------------------------- speech

SAMPLES = 5000  # 0.625 s

# Recordings of one word, or of two short ones, whose sound fits into that time; "digits/0 zero" is the file
# digits/0.wav. Two files that repeat another's sound (privacy-thankyou, queue-seconds) are not here.
RECORDINGS = """
digits/0 zero, digits/1 one, digits/2 two, digits/3 three, digits/4 four, digits/5 five, digits/6 six, digits/7 seven,
digits/8 eight, digits/9 nine, digits/10 ten, digits/11 eleven, digits/12 twelve, digits/13 thirteen, digits/20 twenty,
digits/30 thirty, digits/40 forty, digits/50 fifty, digits/60 sixty, digits/70 seventy, digits/80 eighty,
digits/hundred hundred, digits/thousand thousand, digits/million million, digits/billion billion, digits/h-1 first,
digits/h-2 second, digits/h-3 third, digits/h-4 fourth, digits/h-5 fifth, digits/h-6 sixth, digits/h-7 seventh,
digits/h-8 eighth, digits/h-9 ninth, digits/h-11 eleventh, digits/h-12 twelfth, digits/h-13 thirteenth,
digits/h-14 fourteenth, digits/h-15 fifteenth, digits/h-16 sixteenth, digits/h-17 seventeenth, digits/h-18 eighteenth,
digits/h-20 twentieth, digits/h-30 thirtieth, digits/h-40 fortieth, digits/h-50 fiftieth, digits/h-60 sixtieth,
digits/h-70 seventieth, digits/h-80 eightieth, digits/h-hundred hundredth, digits/h-thousand thousandth,
digits/h-million millionth, digits/h-billion billionth, digits/day-0 Sunday, digits/day-1 Monday, digits/day-2 Tuesday,
digits/day-4 Thursday, digits/day-5 Friday, digits/day-6 Saturday, digits/mon-1 February, digits/mon-2 March,
digits/mon-3 April, digits/mon-4 May, digits/mon-5 June, digits/mon-6 July, digits/mon-7 August, digits/at at,
digits/dollars dollars, digits/minus minus, digits/oclock o'clock, digits/p-m p.m., digits/pound pound,
digits/star star, digits/today today, digits/tomorrow tomorrow, letters/b b, letters/c c, letters/d d, letters/e e,
letters/g g, letters/h h, letters/i i, letters/j j, letters/k k, letters/o o, letters/p p, letters/q q, letters/r r,
letters/t t, letters/u u, letters/v v, letters/w w, letters/x x, letters/y y, letters/z zee, letters/zed zed,
letters/asterisk asterisk, letters/dash dash, letters/dollar dollar, letters/dot dot, letters/equals equals,
letters/plus plus, letters/slash slash, letters/space space, phonetic/a_p alpha, phonetic/b_p bravo,
phonetic/c_p charlie, phonetic/d_p delta, phonetic/e_p echo, phonetic/g_p golf, phonetic/h_p hotel, phonetic/i_p india,
phonetic/j_p juliet, phonetic/k_p kilo, phonetic/l_p lima, phonetic/m_p mike, phonetic/o_p oscar, phonetic/p_p papa,
phonetic/q_p quebec, phonetic/r_p romeo, phonetic/s_p sierra, phonetic/t_p tango, phonetic/v_p victor,
phonetic/z_p zulu, phonetic/9_p niner, dictate/pause pause, dictate/paused paused, dictate/playback playback,
dictate/record record, added added, auth-thankyou thank you, calling calling, cancelled cancelled, enabled enabled,
for for, goodbye goodbye, hello hello, hours hours, lowercase lowercase, minute minute, minutes minutes, number number,
queue-less-than less than, queue-minute minute, queue-minutes minutes, removed removed, second second, seconds seconds,
speed-dial speed dial, spy-agent agent, spy-local local, time time, uppercase uppercase, vm-Family family,
vm-Friends friends, vm-Old old, vm-Urgent urgent, vm-Work work, vm-and and, vm-first first, vm-for for,
vm-from from, vm-goodbye goodbye, vm-last last, vm-message message, vm-messages messages, vm-minutes minutes, vm-no no,
vm-password password, vm-press press, vm-received received, vm-saved saved, vm-youhave you have, with with
"""


def recordings() -> list[tuple[str, str]]:
    """Return file and word of each recording."""
    return [(file, word) for file, word in (entry.strip().split(" ", 1) for entry in RECORDINGS.split(","))]


def loudest(path: Path) -> np.ndarray:
    """Return the 5,000 successive samples of most energy, in [-1, 1); they must hold 99% of the recording's."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (8000, 1, 2):
            raise ValueError(f"{path} is not 16-bit mono at 8 kHz.")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int64)
    energy = np.concatenate([[0], np.cumsum(samples**2)])
    inside = energy[SAMPLES:] - energy[:-SAMPLES]
    start = int(inside.argmax())
    if inside[start] < 0.99 * energy[-1]:
        raise ValueError(f"{path} does not fit into {SAMPLES} samples.")
    return samples[start : start + SAMPLES] / 32768


def speech(root: Path, valid: int = 16, test: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N] and mu-law codes [N, 5000]: those for training (the digits first), then `valid`, then `test`.

    The two held-out parts are drawn from the words that were recorded once, so that no word is in two parts.
    """
    listed = recordings()
    y = np.array([SPEECH_WORDS.index(word) for _, word in listed], np.uint8)
    sound = np.stack([loudest(root / SOUNDS / f"{file}.wav") for file, _ in listed])
    x = mu_law_encode(torch.from_numpy(sound)).numpy()
    shuffled = np.random.RandomState(0).permutation(np.arange(10, len(y)))
    held_out = shuffled[np.bincount(y)[y[shuffled]] == 1][-(valid + test) :]
    order = np.concatenate([np.arange(10), shuffled[~np.isin(shuffled, held_out)], held_out])
    return y[order], x[order]


# ---------------------------------------------------------------------------------------------- files


def main() -> None:
    """Write both files and print what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the packages are unpacked")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    args = parser.parse_args()
    for name, (y, x) in (("emoji", emoji(args.root)), ("speech", speech(args.root))):
        data = y.tobytes() + x.tobytes()
        packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
        (args.out / f"{name}.xz").write_bytes(packed)
        print(
            f"{name}.xz: {len(y):,} examples; unpacked {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"
        )
        print(f"  packed {len(packed):,} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
