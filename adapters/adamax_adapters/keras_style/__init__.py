"""The main face: the interface of `tf.keras.optimizers.Adamax`, for which Keras is not needed."""
