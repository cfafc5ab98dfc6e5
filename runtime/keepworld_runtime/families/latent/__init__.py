"""What families that make worlds as latents have in common."""
