"""Detections as COCO's files of results have them."""

from training.detection.metrics import Found


def numbers(classes: tuple[str, ...], categories: tuple[int, ...]) -> dict[str, int]:
    """Class -> `category_id`: as the annotations have it, or counted from 1 where they have none."""
    return dict(zip(classes, categories or range(1, len(classes) + 1), strict=True))


def rows(found: Found, image, classes: tuple[str, ...], numbers: dict[str, int]) -> list[dict]:
    """A dictionary each: `image_id`, `category_id`, `category`, `bbox` (x, y, width, height), `score`."""
    return [
        {
            "image_id": image,
            "category_id": numbers[classes[int(kind)]],
            "category": classes[int(kind)],
            "bbox": [round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 5),
        }
        for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
