"""``python -m keepworld.cli``, the same as ``keepworld``."""

import sys

from keepworld.cli import main

sys.exit(main())
