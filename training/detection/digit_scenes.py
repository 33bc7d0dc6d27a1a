"""Scenes of digits: scikit-learn's handwritten digits on textured backgrounds, made on the spot.

Each scene is 256 x 256 in colour and holds 3 to 8 digits whose longer side has 24 to 96 pixels. Two boxes share at
most 0.3 of the smaller, so no IoU is above that, and no digit hides in another. Scene i of a split is a function
of (split, i) alone. The digits of training, validation and test scenes are disjoint: they are those of `digits`.
"""

import numpy as np

from training.data import sources
from training.data.dataset import Split
from training.data.storage import Pixels
from training.detection.dataset import BoxDataset, DetectionData, packed

SIDE = 256
FEWEST, MOST = 3, 8
SMALLEST, LARGEST = 24, 96
MOST_SHARED = 0.3
COUNTS = {"train": 2000, "val": 100, "test": 500}
SEED = 20150604  # the day the paper came out; part of every published figure
TRIES = 200
CONTRAST = 90  # least distance of a digit's grey level from that of what is below it


def load() -> DetectionData:
    """2,000 scenes to train, 100 to validate, 500 to test."""
    digits = sources.digits()
    parts = {name: split(getattr(digits, name), name, count) for name, count in COUNTS.items()}
    origin = f"{digits.origin.split(';')[0]}, pasted on textures; disjoint digits in train, val and test"
    return DetectionData("digit_scenes", digits.classes, **parts, mirror=False, origin=origin)


def split(digits: Split, name: str, count: int) -> BoxDataset:
    """The first `count` scenes of a split, made of these digits."""
    images, truths = np.empty((count, SIDE, SIDE, 3), np.uint8), []
    cut = [ink(image[..., 0]) for image in digits.images.array]
    for i in range(count):
        images[i], *truth = scene(cut, digits.labels, name, i)
        truths.append((*truth, np.zeros(len(truth[1]), bool)))
    sizes = np.full((count, 2), SIDE, np.int32)
    return BoxDataset(Pixels(images), sizes, *packed(truths), tuple(range(count)))


def scene(cut: list[np.ndarray], labels: np.ndarray, name: str, index: int):
    """Scene `index`: uint8 (256, 256, 3), boxes (k, 4), classes (k,); the largest digits lie below."""
    # RandomState's stream is frozen for ever; that of the newer Generator may change between NumPy versions.
    chance = np.random.RandomState([SEED, *map(ord, name), index])
    image, boxes, kinds = texture(chance), [], []
    longest = np.sort(chance.randint(SMALLEST, LARGEST + 1, chance.randint(FEWEST, MOST + 1)))[::-1]
    for side in longest:
        which = chance.randint(len(cut))
        stroke = resized(cut[which], int(side))
        box = place(chance, stroke.shape, boxes)
        if box is None:
            continue  # a scene of large digits can be full
        paste(chance, image, stroke, box)
        boxes.append(box)
        kinds.append(labels[which])
    return np.rint(image).astype(np.uint8), np.array(boxes, np.float32), np.array(kinds, np.int32)


def ink(digit: np.ndarray) -> np.ndarray:
    """A grey digit cut to its strokes, 0 to 1."""
    rows, columns = np.flatnonzero(digit.max(1) > 40), np.flatnonzero(digit.max(0) > 40)
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255.0


def resized(stroke: np.ndarray, longest: int) -> np.ndarray:
    """Strokes (h, w) so that their longer side has so many pixels."""
    from PIL import Image

    scale = longest / max(stroke.shape)
    height, width = (max(1, round(s * scale)) for s in stroke.shape)
    image = Image.fromarray(stroke.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), 0, 1)


def place(chance, shape: tuple[int, int], boxes: list) -> tuple | None:
    """Where a digit of that height and width goes, as a box; None where no place was found."""
    height, width = shape
    for _ in range(TRIES):
        x, y = chance.randint(SIDE - width + 1), chance.randint(SIDE - height + 1)
        box = (x, y, x + width, y + height)
        if all(shared(box, other) <= MOST_SHARED for other in boxes):
            return box
    return None


def shared(a: tuple, b: tuple) -> float:
    """What two boxes have in common, as a share of the smaller."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def paste(chance, image: np.ndarray, stroke: np.ndarray, box: tuple) -> None:
    """Draws strokes in a colour that stands out from what they cover."""
    x1, y1, x2, y2 = box
    below = image[y1:y2, x1:x2]
    grey = below.mean()
    levels = [v for v in range(256) if abs(v - grey) >= CONTRAST]
    colour = np.clip(chance.choice(levels) + chance.uniform(-30, 30, 3), 0, 255)
    below += stroke[..., None] * (colour - below)


def texture(chance) -> np.ndarray:
    """A background, float (256, 256, 3): clouds of some sizes, stripes, grain."""
    image = np.empty((SIDE, SIDE, 3))
    for channel, level in enumerate(chance.uniform(50, 205, 3)):
        clouds = sum(
            chance.uniform(0, 14) * larger(chance.randn(cells, cells), SIDE // 4) for cells in (2, 5, 13, 40)
        )
        image[..., channel] = level + larger(clouds, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, length = chance.uniform(0, np.pi), chance.uniform(6, 60)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + chance.uniform(0, 6))
    image += chance.uniform(0, 18) * wave[..., None]
    return np.clip(image + chance.randn(SIDE, SIDE, 1) * chance.uniform(0, 8), 0, 255)


def larger(field: np.ndarray, side: int) -> np.ndarray:
    """A square field of numbers, smoothly drawn out to so many a side."""
    from PIL import Image

    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
