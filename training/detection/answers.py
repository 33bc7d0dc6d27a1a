"""Detections as COCO's files of results have them."""

from training.detection.metrics import Found


def rows(found: Found, image, classes: tuple[str, ...]) -> list[dict]:
    """A dictionary each: `image_id`, `category_id` from 1, `category`, `bbox` (x, y, width, height), `score`."""
    return [
        {
            "image_id": image,
            "category_id": int(kind) + 1,
            "category": classes[int(kind)],
            "bbox": [round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 5),
        }
        for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
