"""Views of trained networks for `explain.py`: filters, Grad-CAM, feature maps, similar images."""
