"""``python -m prometheus``."""

import sys

from prometheus.cli import main

sys.exit(main())
