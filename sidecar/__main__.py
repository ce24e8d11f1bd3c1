"""Makes `python -m sidecar` the same as the `k6-sweep` command."""

import sys

from sidecar.cli import main

sys.exit(main())
