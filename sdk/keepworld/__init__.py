"""Walk a generated world in real time, and keep it in 3D."""
