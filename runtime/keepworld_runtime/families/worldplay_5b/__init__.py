"""WorldPlay-5B (HY-World 1.5 on Wan2.2-TI2V-5B)."""
