"""Sessions, their chunks and the workers that draw them."""
