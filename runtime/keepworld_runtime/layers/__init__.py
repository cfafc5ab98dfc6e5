"""What the learned families' networks are made of."""
