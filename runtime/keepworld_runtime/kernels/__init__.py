"""The few operations that have faster forms than plain torch."""
