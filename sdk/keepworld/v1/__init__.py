"""Generated from proto/keepworld/v1; do not edit."""
