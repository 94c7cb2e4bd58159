"""Frozen feature networks: weights, channel statistics, and the making of vgg-mini."""
