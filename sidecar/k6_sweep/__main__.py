"""Makes `python -m k6_sweep` the same as the `k6-sweep` command."""

import sys

from k6_sweep.cli import main

sys.exit(main())
