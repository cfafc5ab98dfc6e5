from tests.s3 import bucket, s3

__all__ = ["bucket", "s3"]
