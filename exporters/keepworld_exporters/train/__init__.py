"""Splats made to look like the frames: a loss, its gradients, and many small steps."""
