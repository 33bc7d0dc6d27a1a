"""Names what is on a photo: python classify.py model_int8.tflite photo.jpg (any .tflite file of export.py)."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

path, photo = map(Path, sys.argv[1:3])
labels = path.with_name("labels.txt").read_text(encoding="utf-8").splitlines()
shorter = json.loads(path.with_name("export.json").read_text(encoding="utf-8"))["input"]["shorter_side"]

model = Interpreter(str(path), num_threads=4)
model.allocate_tensors()
entry, end = model.get_input_details()[0], model.get_output_details()[0]
_, height, width, channels = entry["shape"]

image = Image.open(photo).convert("RGB" if channels == 3 else "L")
scale = shorter / min(image.size)
image = image.resize([max(shorter, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
left, top = (image.width - width) // 2, (image.height - height) // 2
pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32).reshape(entry["shape"])


def stored(values, detail):  # an int8 file has numbers on a scale of its own
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"]) if scale else None
    return np.clip(np.round(values / scale + zero), limits.min, limits.max) if scale else values


model.set_tensor(entry["index"], stored(pixels, entry).astype(entry["dtype"]))
model.invoke()
scores = model.get_tensor(end["index"])[0].astype(np.float32)
scale, zero = end["quantization"]
scores = (scores - zero) * scale if scale else scores
for i in scores.argsort()[::-1][:5]:
    print(f"{labels[i]} {scores[i]:.1%}")
