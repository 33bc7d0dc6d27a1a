"""Training of object detectors: images with boxes, the step, the run, the figures, the files."""
