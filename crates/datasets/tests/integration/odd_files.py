"""Prints what Pillow and numpy make of each odd file, in the form of odd_files.tsv, which says what is expected.

Usage: odd_files.py FOLDER. PNG: SHA-256 of the pixels' bytes, first 16 digits. JPEG: for red, green and blue the mean
of the values, of values times column, and of values times row, with columns and rows from 0 to 1.
"""

import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def colours(picture):
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        return np.repeat((np.array(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "LA":
        return np.repeat(np.array(picture)[..., :1], 3, axis=2)
    return np.array(picture)[..., :3] if picture.mode == "RGBA" else np.array(picture.convert("RGB"))


def ids(picture, file):
    values = np.array(picture)
    depth = file.read_bytes()[24]
    if picture.mode == "L" and depth < 8:
        values = values // (255 // (2**depth - 1))  # Pillow stretches them.
    return values.astype(np.uint8)


def exact(pixels):
    return f"{pixels.shape[1]}x{pixels.shape[0]} {hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"


def moments(pixels):
    height, width, _ = pixels.shape
    columns = ((np.arange(width) + 0.5) / width)[None, :, None]
    rows = ((np.arange(height) + 0.5) / height)[:, None, None]
    numbers = [(pixels * weight).mean((0, 1)) for weight in (1.0, columns, rows)]
    return f"{width}x{height} " + " ".join(f"{number:.2f}" for number in np.concatenate(numbers))


folder = Path(sys.argv[1])
for line in (folder / "files.tsv").read_text().splitlines()[1:]:
    name = line.split("\t")[0]
    image = label = "error"
    try:
        picture = Image.open(folder / name)
        picture.load()
        if picture.format == "JPEG" and picture.mode != "CMYK":
            image = moments(colours(picture))
        if picture.format == "PNG":
            image = exact(colours(picture))
            if picture.mode in ("1", "L", "P", "I;16") and np.array(picture).max() <= 255:
                label = exact(ids(picture, folder / name))
    except (OSError, SyntaxError, struct.error, Image.DecompressionBombError):
        pass
    print(name, image, label, sep="\t")
