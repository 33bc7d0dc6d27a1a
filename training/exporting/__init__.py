"""Exports: SavedModel, TFLite, Keras and ONNX files, each verified and described by a card."""
