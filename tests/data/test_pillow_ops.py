"""Operations of AutoAugment: the numbers of Pillow, image by image, and the published policies' frequencies."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from training.data.pillow_ops import OPERATIONS, operate
from training.data.policies import CIFAR, IMAGENET, POLICIES, AutoAugment, RandAugment, random_sign
from training.data.stateless_random import uniform

SHIFT = 0.3


def by_pillow(name, image, magnitude, sign):
    """One image as the papers' programs change it."""
    strength, (width, height) = magnitude / 10, image.size
    shear, factor = sign * 0.3 * strength, 0.1 + 1.8 * strength
    x, y = (round(sign * strength * SHIFT * side) for side in (width, height))
    grey = 128 if image.mode == "L" else (128, 128, 128)

    def affine(*numbers):
        return image.transform(image.size, Image.Transform.AFFINE, numbers, fillcolor=grey)

    return {
        "identity": lambda: image,
        "shear_x": lambda: affine(1, shear, 0, 0, 1, 0),
        "shear_y": lambda: affine(1, 0, 0, shear, 1, 0),
        "translate_x": lambda: affine(1, 0, x, 0, 1, 0),
        "translate_y": lambda: affine(1, 0, 0, 0, 1, y),
        "rotate": lambda: image.rotate(sign * 30 * strength, fillcolor=grey),
        "solarize": lambda: ImageOps.solarize(image, 256 - int(256 * strength)),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * strength)),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "colour": lambda: ImageEnhance.Color(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
    }[name]()


def examples(pictures, channels):
    """Smooth, dark, flat, two-level and noisy images."""
    images = pictures(6, 40, 36, channels, seed=3)
    images[1] = images[1] // 3 + 20
    images[2] = 77
    images[3] = np.where(images[3] > 120, 200, 90)
    images[4] = np.random.RandomState(1).randint(0, 256, images[4].shape)
    images[5] = np.linspace(0, 255, 36, dtype=np.uint8)[None, :, None]
    return images


def repeated(value, n, kind):
    return np.full(n, value, kind)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillows(name, channels, pictures):
    images = examples(pictures, channels)
    n = len(images)
    for magnitude, sign in ((0, 1), (3, -1), (7, 1), (9, -1), (10, 1)):
        operation = repeated(OPERATIONS.index(name), n, np.int32)
        ours = operate(
            images, operation, repeated(magnitude, n, np.float32), repeated(sign, n, np.float32), SHIFT
        ).numpy()
        assert ours.dtype == np.uint8
        for one, image in zip(ours, images, strict=True):
            source = Image.fromarray(image[..., 0] if channels == 1 else image)
            theirs = np.asarray(by_pillow(name, source, magnitude, sign)).reshape(image.shape)
            away = np.abs(one.astype(int) - theirs)
            if name in ("shear_x", "shear_y", "rotate"):
                # Where the nearest pixel is a tie, the rounding of the last digit decides.
                assert (away > 0).mean() < 0.01
            else:
                assert away.max() <= 1
                assert (away > 0).mean() < 0.02


def test_every_image_gets_its_own_operation(pictures):
    images = np.repeat(examples(pictures, 3), 5, axis=0)
    n = len(images)
    operation = np.arange(n, dtype=np.int32) % len(OPERATIONS)
    magnitude, sign = np.linspace(1, 9, n, dtype=np.float32), np.where(np.arange(n) % 2, -1, 1).astype(np.float32)
    together = operate(images, operation, magnitude, sign, SHIFT).numpy()
    for i in range(n):
        one = slice(i, i + 1)
        alone = operate(images[one], operation[one], magnitude[one], sign[one], SHIFT).numpy()
        np.testing.assert_array_equal(alone[0], together[i])


def test_a_policy_picks_as_published(pictures, monkeypatch):
    n, seen = 20_000, []

    def noted(images, operation, magnitude, sign, shift):
        seen.append((operation.numpy(), magnitude.numpy(), sign.numpy(), shift))
        return images

    monkeypatch.setattr("training.data.policies.operate", noted)
    for policy, pairs in (("imagenet", IMAGENET), ("cifar", CIFAR)):
        assert len(pairs) == 25
        AutoAugment(policy)(None, uniform(0, 0, np.arange(n), 0))
        for slot, (operation, magnitude, sign, shift) in zip((0, 1), seen[-2:], strict=True):
            assert shift == POLICIES[policy][1]
            assert abs(sign.mean()) < 5 / n**0.5
            expected = dict.fromkeys(OPERATIONS, 0.0)
            for pair in pairs:
                name, probability, _ = pair[slot]
                expected[name] += probability / 25
                expected["identity"] += (1 - probability) / 25
            for i, name in enumerate(OPERATIONS):
                assert abs((operation == i).mean() - expected[name]) < 0.02
                published = {pair[slot][2] for pair in pairs if pair[slot][0] == name}
                assert name == "identity" or set(magnitude[operation == i]) <= published
        # The two operations are of one pair.
        both = {tuple(OPERATIONS[o[i]] for o in (seen[-2][0], seen[-1][0])) for i in range(500)}
        allowed = {
            (one, other)
            for (first, *_), (second, *_) in pairs
            for one in (first, "identity")
            for other in (second, "identity")
        }
        assert both <= allowed
    seen.clear()
    RandAugment(2, 7.5)(None, uniform(0, 0, np.arange(n), 0))
    for operation, magnitude, _, _ in seen:
        shares = np.bincount(operation, minlength=15) / n
        np.testing.assert_allclose(shares[:14], 1 / 14, atol=0.01)
        assert shares[14] == 0
        assert set(magnitude) == {7.5}
    assert abs(np.corrcoef(seen[0][0], seen[1][0])[0, 1]) < 5 / n**0.5


def test_a_policy_without_effect_and_floats(pictures):
    images = pictures(4)
    still = operate(
        images.astype(np.float32) + 0.3, *(np.zeros(4, k) for k in (np.int32, np.float32, np.float32)), 0
    )
    np.testing.assert_array_equal(still, images)
    assert random_sign(np.array([0.0, 0.4999, 0.5], np.float32)).numpy().tolist() == [-1, -1, 1]
