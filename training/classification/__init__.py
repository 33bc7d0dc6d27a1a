"""Image classification: the task, its configuration, trained classifiers and their evaluation."""
