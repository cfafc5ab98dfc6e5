"""The steps from a capture to a scene: select, depth, fuse, splats. Functions over frozen arrays."""
