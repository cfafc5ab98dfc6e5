"""Turn a captured walk into Gaussian splats, meshes and point clouds."""
