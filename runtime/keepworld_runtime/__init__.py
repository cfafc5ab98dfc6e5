"""The keepworld runtime: serves generated worlds, chunk by chunk, over gRPC."""
