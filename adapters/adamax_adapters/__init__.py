"""Adapters that put Adamax behind other interfaces: Keras-style optimizer, files, a command."""
