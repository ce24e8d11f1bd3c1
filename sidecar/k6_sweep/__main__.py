"""Makes `python -m k6_sweep` equal to the `k6-sweep` command."""

import sys

from k6_sweep.cli import main

sys.exit(main())
