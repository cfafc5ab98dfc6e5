"""The diorama: a procedural low-poly world from words and a seed, ray-cast on the CPU."""
