"""The compact training core: Deep Perceptual Autoencoders on one device."""
