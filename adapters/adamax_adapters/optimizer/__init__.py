"""What the Keras-style optimizer is made of: its hyperparameters, its slots and its weights."""
