"""The image operations of `pipeline` and `augment` in NumPy, for backends without TensorFlow.

Random numbers equal those of `stateless_random` bit by bit. PadCrop, Flip, AlternatingFlip and Cutout give the
same images as in TensorFlow; float computations (Affine, resizing) may differ by one level of 255.
"""

import math
from collections.abc import Callable

import numpy as np

from training.data.augment import Affine, AlternatingFlip, Flip, PadCrop
from training.data.colour import TF_LUMA
from training.data.erasing import Cutout
from training.data.eval_transform import EvalTransform
from training.data.stateless_random import rescale

# --- random numbers ---------------------------------------------------------------------------------------------


def uniform(seed: int, epoch: int, index: np.ndarray, position: int) -> Callable:
    """`stateless_random.uniform` for images `index` (b,) of one epoch: `draw(k)` is float32 (b,) in [0, 1)."""

    def number(k: int, when: int):
        state = np.full(len(index), 0x243F6A88, np.uint32)
        for value in (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, position, k, when & 0xFFFFFFFF, index):
            state = hash32((state ^ np.asarray(value).astype(np.uint32)) + np.uint32(0x9E3779B9))
        return (state >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)

    def draw(k: int):
        return number(k, epoch)

    draw.epoch, draw.always = epoch, lambda k: number(k, 0)
    return draw


def hash32(state: np.ndarray) -> np.ndarray:
    """`stateless_random.hash32`."""
    state = (state ^ (state >> np.uint32(16))) * np.uint32(0x7FEB352D)
    state = (state ^ (state >> np.uint32(15))) * np.uint32(0x846CA68B)
    return state ^ (state >> np.uint32(16))


def integers(drawn: np.ndarray, count: int) -> np.ndarray:
    """`stateless_random.integers`."""
    return np.minimum(np.floor(drawn * np.float32(count)), count - 1).astype(np.int32)


# --- augmentation -----------------------------------------------------------------------------------------------


def pad_crop(part: PadCrop, images, draw):
    """`PadCrop`."""
    height, width = images.shape[1:3]
    if part.mode == "reflect" and part.pad >= min(height, width):
        raise ValueError(f"PadCrop reflects at most {min(height, width) - 1} pixels here, got pad={part.pad}")
    padded = np.pad(images, ((0, 0), (part.pad,) * 2, (part.pad,) * 2, (0, 0)), part.mode)
    out = np.empty_like(images)
    for i, (top, left) in enumerate(zip(*(integers(draw(k), 2 * part.pad + 1) for k in (0, 1)), strict=True)):
        out[i] = padded[i, top : top + height, left : left + width]
    return out


def flip(part: Flip, images, draw):
    """`Flip`."""
    return flip_where(images, draw(0) < 0.5)


def alternating_flip(part: AlternatingFlip, images, draw):
    """`AlternatingFlip`."""
    return flip_where(images, ((draw.always(0) < 0.5) + draw.epoch) % 2 == 1)


def flip_where(images, which):
    """`augment.flip_where`."""
    return np.where(which[:, None, None, None], images[:, :, ::-1], images)


def affine(part: Affine, images, draw):
    """`Affine`: float32, bilinear, black outside."""
    height, width = images.shape[1:3]
    turn = rescale((-part.rotate, part.rotate), draw(0).astype(float)) * (math.pi / 180)
    scale = rescale((1 - part.zoom, 1 + part.zoom), draw(3).astype(float))
    cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = middle_y + rescale((-part.shift * height, part.shift * height), draw(1).astype(float))
    x = middle_x + rescale((-part.shift * width, part.shift * width), draw(2).astype(float))
    cos, sin, y, x = (v[:, None, None] for v in (cos, sin, y, x))
    rows, columns = np.arange(height)[:, None] - y, np.arange(width)[None, :] - x
    return bilinear(images, middle_y - sin * columns + cos * rows, middle_x + cos * columns + sin * rows)


def bilinear(images, rows, columns):
    """float32 (b, h, w, c): the images interpolated at positions (b, h, w); black outside."""
    height, width = images.shape[1:3]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float32)
    rows, columns = np.clip(rows, -1, height), np.clip(columns, -1, width)
    top = np.clip(np.floor(rows), -1, height - 1).astype(np.int32)
    left = np.clip(np.floor(columns), -1, width - 1).astype(np.int32)
    down, right = ((rows - top)[..., None]).astype(np.float32), ((columns - left)[..., None]).astype(np.float32)
    image = np.arange(len(images))[:, None, None]
    upper, lower = (
        framed[image, r, left + 1] * (1 - right) + framed[image, r, left + 2] * right for r in (top + 1, top + 2)
    )
    return upper * (1 - down) + lower * down


def cutout(part: Cutout, images, draw):
    """`Cutout`."""
    images = images.copy()
    height, width = images.shape[1:3]
    for image, row, column in zip(images, integers(draw(0), height), integers(draw(1), width), strict=True):
        top, left = row - part.side // 2, column - part.side // 2
        image[max(top, 0) : max(top + part.side, 0), max(left, 0) : max(left + part.side, 0)] = part.fill
    return images


TWINS = {PadCrop: pad_crop, Flip: flip, AlternatingFlip: alternating_flip, Affine: affine, Cutout: cutout}


# --- sizes and channels -----------------------------------------------------------------------------------------


def resize_and_crop(images, size: int, crop: float | EvalTransform = 1.0) -> np.ndarray:
    """`pipeline.resize_and_crop`: uint8 (b, h, w, c) -> uint8 (b, size, size, c)."""
    images = np.asarray(images)
    if images.shape[1:3] == (size, size) and crop == 1:
        return images
    sides = np.array(images.shape[1:3])
    if isinstance(crop, EvalTransform):
        sides, size, kernel = sides * crop.shorter // sides.min(), crop.size, KERNELS[crop.interpolation]
        top, left = np.rint((sides - size) / 2).astype(int)
    else:
        shorter, kernel = round(size / crop), triangle
        sides = np.maximum(shorter, np.rint(sides * (shorter / sides.min())).astype(int))
        top, left = (sides - size) // 2
    resized = np.clip(np.rint(resize(images, *sides, kernel)), 0, 255).astype(np.uint8)
    return resized[:, top : top + size, left : left + size]


def resize(images, height: int, width: int, kernel: Callable) -> np.ndarray:
    """float32 (b, height, width, c), like `tf.image.resize` with antialias: two products with weight matrices."""
    rows, columns = (weights(a, b, kernel) for a, b in zip(images.shape[1:3], (height, width), strict=True))
    tall = np.einsum("oh,bhwc->bowc", rows, images.astype(np.float32), optimize=True)
    return np.einsum("pw,bowc->bopc", columns, tall, optimize=True)


def weights(before: int, after: int, kernel: Callable) -> np.ndarray:
    """(after, before): the weight of each old pixel in each new one. Shrinking widens the kernel."""
    scale = max(before / after, 1.0)
    centres = (np.arange(after)[:, None] + 0.5) * before / after
    table = kernel(np.abs(np.arange(before) + 0.5 - centres) / scale)
    return (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def triangle(x):
    """The kernel of linear interpolation."""
    return np.maximum(0, 1 - x)


def keys_cubic(x):
    """The kernel of cubic interpolation (Keys 1981, a = -1/2) of Pillow and TensorFlow's antialiased resizing."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


KERNELS = {"bilinear": triangle, "bicubic": keys_cubic}


def with_channels(images, channels: int) -> np.ndarray:
    """`pipeline.with_channels`; luma is float32."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    return (images.astype(np.float32) @ np.array(TF_LUMA, np.float32))[..., None]


def read_image(path: str, turn: int = 1) -> np.ndarray:
    """An image file as uint8 (h, w, 3): upright by its EXIF orientation `turn`.

    It is the first frame of an animation, without transparency.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if turn > 1:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # 16 bits
            return np.repeat((np.asarray(image, np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
        return np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))[..., :3]
