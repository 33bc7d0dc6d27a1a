"""Inspection of networks: endpoints, drawings, Grad-CAM, first filters, nearest neighbours in feature space."""

from keras_cnns.explain.cam import grad_cam
from keras_cnns.explain.filters import first_filters, saturation, towers
from keras_cnns.explain.neighbours import Codes, Encoder, Vectors, penultimate, precision

__all__ = [
    "Codes",
    "Encoder",
    "Vectors",
    "first_filters",
    "grad_cam",
    "penultimate",
    "precision",
    "saturation",
    "towers",
]
