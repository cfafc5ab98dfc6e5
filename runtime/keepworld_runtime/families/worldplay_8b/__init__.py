"""WorldPlay-8B (HY-World 1.5 on HunyuanVideo-1.5)."""
