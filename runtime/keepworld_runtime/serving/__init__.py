"""The gRPC face of the runtime."""
