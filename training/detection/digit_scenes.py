"""The data set `digit_scenes`: scikit-learn's handwritten digits on textured backgrounds, made at each load.

A scene has 256 x 256 pixels in colour and 3 to 8 digits whose longer side has 24 to 96 pixels. Two boxes overlap
by at most 0.3 of the smaller one, so no IoU is above that and no digit hides another. Scene i of a split is a
function of (split, i). The splits have the disjoint digits of the data set `digits`.
"""

import numpy as np

from training.data import sources
from training.data.dataset import Split
from training.data.storage import Pixels
from training.detection.dataset import BoxDataset, DetectionData, pad_boxes

SIDE = 256
MIN_DIGITS, MAX_DIGITS = 3, 8
MIN_SIDE, MAX_SIDE = 24, 96
MAX_OVERLAP = 0.3
COUNTS = {"train": 2000, "val": 100, "test": 500}
SEED = 20150604  # the date of the paper; every published figure depends on it
MAX_TRIES = 200
MIN_CONTRAST = 90  # grey levels between a digit and the background below it


def load() -> DetectionData:
    """2,000 training, 100 validation and 500 test scenes."""
    digits = sources.digits()
    parts = {name: make_split(getattr(digits, name), name, count) for name, count in COUNTS.items()}
    origin = f"{digits.origin.split(';')[0]}, pasted on textures; disjoint digits in train, val and test"
    return DetectionData("digit_scenes", digits.classes, **parts, mirror=False, origin=origin)


def make_split(digits: Split, name: str, count: int) -> BoxDataset:
    """The first `count` scenes of a split, from these digits."""
    images, truths = np.empty((count, SIDE, SIDE, 3), np.uint8), []
    strokes = [crop_digit(image[..., 0]) for image in digits.images.array]
    for i in range(count):
        images[i], *truth = make_scene(strokes, digits.labels, name, i)
        truths.append((*truth, np.zeros(len(truth[1]), bool)))
    sizes = np.full((count, 2), SIDE, np.int32)
    return BoxDataset(Pixels(images), sizes, *pad_boxes(truths), tuple(range(count)))


def make_scene(strokes: list[np.ndarray], labels: np.ndarray, name: str, index: int):
    """Scene `index`: uint8 (256, 256, 3), boxes (k, 4), classes (k,); the largest digits are drawn first."""
    # RandomState's stream never changes; that of the newer Generator may change between NumPy versions.
    rng = np.random.RandomState([SEED, *map(ord, name), index])
    image, boxes, kinds = make_background(rng), [], []
    longest = np.sort(rng.randint(MIN_SIDE, MAX_SIDE + 1, rng.randint(MIN_DIGITS, MAX_DIGITS + 1)))[::-1]
    for side in longest:
        which = rng.randint(len(strokes))
        stroke = resize_digit(strokes[which], int(side))
        box = find_box(rng, stroke.shape, boxes)
        if box is None:
            continue  # large digits can fill a scene
        paste(rng, image, stroke, box)
        boxes.append(box)
        kinds.append(labels[which])
    return np.rint(image).astype(np.uint8), np.array(boxes, np.float32), np.array(kinds, np.int32)


def crop_digit(digit: np.ndarray) -> np.ndarray:
    """A grey digit cropped to its strokes, 0 to 1."""
    rows, columns = np.flatnonzero(digit.max(1) > 40), np.flatnonzero(digit.max(0) > 40)
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255.0


def resize_digit(stroke: np.ndarray, longest: int) -> np.ndarray:
    """Strokes (h, w) resized so that their longer side has `longest` pixels."""
    scale = longest / max(stroke.shape)
    height, width = (max(1, round(s * scale)) for s in stroke.shape)
    return np.clip(resize_bicubic(stroke, height, width), 0, 1)


def find_box(rng, shape: tuple[int, int], boxes: list) -> tuple | None:
    """A random box of that height and width for a digit; None if no place is free."""
    height, width = shape
    for _ in range(MAX_TRIES):
        x, y = rng.randint(SIDE - width + 1), rng.randint(SIDE - height + 1)
        box = (x, y, x + width, y + height)
        if all(overlap(box, other) <= MAX_OVERLAP for other in boxes):
            return box
    return None


def overlap(a: tuple, b: tuple) -> float:
    """The common area of two boxes as a fraction of the smaller one."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def paste(rng, image: np.ndarray, stroke: np.ndarray, box: tuple) -> None:
    """Draws strokes in a colour with contrast to the background below them."""
    x1, y1, x2, y2 = box
    below = image[y1:y2, x1:x2]
    grey = below.mean()
    levels = [v for v in range(256) if abs(v - grey) >= MIN_CONTRAST]
    colour = np.clip(rng.choice(levels) + rng.uniform(-30, 30, 3), 0, 255)
    below += stroke[..., None] * (colour - below)


def make_background(rng) -> np.ndarray:
    """A background, float (256, 256, 3): clouds of several sizes, stripes and noise."""
    image = np.empty((SIDE, SIDE, 3))
    for channel, level in enumerate(rng.uniform(50, 205, 3)):
        clouds = sum(
            rng.uniform(0, 14) * resize_bicubic(rng.randn(cells, cells), SIDE // 4, SIDE // 4)
            for cells in (2, 5, 13, 40)
        )
        image[..., channel] = level + resize_bicubic(clouds, SIDE, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, length = rng.uniform(0, np.pi), rng.uniform(6, 60)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + rng.uniform(0, 6))
    image += rng.uniform(0, 18) * wave[..., None]
    return np.clip(image + rng.randn(SIDE, SIDE, 1) * rng.uniform(0, 8), 0, 255)


def resize_bicubic(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A float array (h, w) resized by bicubic interpolation."""
    from PIL import Image

    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
