"""``python -m prometheus``."""

import sys

from prometheus_regime import main

sys.exit(main())
