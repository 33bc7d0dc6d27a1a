"""Training, evaluation and prediction for keras_cnns: run the scripts here, do not import them."""
