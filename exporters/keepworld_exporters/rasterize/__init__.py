"""Pictures of a scene: Gaussian splats, triangles and points, seen by a camera."""
