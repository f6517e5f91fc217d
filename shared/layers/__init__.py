"""Layers: each call returns its value and its pullback (see ``shared.layers.base``)."""
