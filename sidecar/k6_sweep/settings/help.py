"""The end of every --help: notes and examples. Only the help imports it, so that the waiting sidecar stays small."""

from collections.abc import Mapping
from typing import Final

_NOTES: Final = """\
Every option can also be set as an environment variable: --redis-url is SWEEP_REDIS_URL. If both are set, k6-sweep
uses the option. Times are in seconds, or have a unit: 500ms, 60s, 5m, 1h.
"""

_EXIT_CODES: Final = {
    "k6-sweep inject": """
Exit codes:
  0  the manifests are on standard output; standard error has what was added and what was left, and why
  2  nothing was printed: the options or the manifests are invalid, no test can be served, or --strict and one cannot
"""
}
EXAMPLES: Final[Mapping[str, str]] = {
    "k6-sweep": """\
  # Count the keys that a sweep would delete
  k6-sweep run --redis-url redis://redis:6379 --pattern 'queue:*' --pattern 'dedupe:*' --dry-run

  # Start a load test, and delete its keys when it has ended
  k6-sweep watch --redis-url redis://redis:6379 --pattern 'queue:*' & k6 run script.js; wait

  # Add k6-sweep to the manifest of a load test
  k6-sweep inject -f job.yaml --image registry.example/k6-sweep:1.0.0 \\
      --redis-url rediss://redis.staging:6379 --pattern 'queue:*' \\
      --allowed-namespace 'load-*' | kubectl apply -f -
""",
    "k6-sweep watch": """\
  # Start a load test on this machine, and delete its keys when it has ended
  k6-sweep watch --redis-url redis://redis:6379 --pattern 'queue:*' & k6 run script.js; wait

  # As a native sidecar in the test's pod, with TLS, a password and a guard
  k6-sweep watch --native --redis-url rediss://redis.staging:6379 \\
      --redis-password-file /etc/k6-sweep/password --pattern 'queue:*' --allowed-namespace 'load-*'

  # Wait for all pods of a Job, from a pod outside the Job
  k6-sweep watch --target job/load-test --redis-url redis://redis:6379 --pattern 'queue:*'
""",
    "k6-sweep run": """\
  # Count the keys first, then delete them
  k6-sweep run --redis-url redis://redis:6379 --pattern 'queue:*' --pattern 'dedupe:*' --dry-run
  k6-sweep run --redis-url redis://redis:6379 --pattern 'queue:*' --pattern 'dedupe:*'

  # Spare some of the keys, and refuse if more than 100,000 match
  k6-sweep run --redis-url redis://redis:6379 --pattern 'queue:*' --keep 'queue:admin:*' --max-keys 100000

  # Delete only the keys that were created after the snapshot
  k6-sweep run --redis-url redis://redis:6379 --pattern 'queue:*' --preserve-existing before.keys
""",
    "k6-sweep serve": """\
  # On this machine, with a token from the environment
  SWEEP_ADMIN_TOKEN="$TOKEN" k6-sweep serve --redis-url redis://127.0.0.1:6379 --pattern 'queue:*' \\
      --listen 127.0.0.1:8000

  # In a pod, with the password and the token from mounted Secrets
  k6-sweep serve --redis-url rediss://redis.staging:6379 --pattern 'queue:*' \\
      --redis-password-file /etc/k6-sweep/password --admin-token-file /etc/k6-sweep/token

  # Ask it to count the keys
  curl -X POST -H "X-Admin-Token: $TOKEN" -H 'Content-Type: application/json' -d '{"dry_run": true}' \\
      http://127.0.0.1:8000/internal/redis/cleanup
""",
    "k6-sweep snapshot": """\
  # Before the test: record the keys that already exist
  k6-sweep snapshot --out before.keys --redis-url redis://redis:6379 --pattern 'queue:*'

  # After the test: delete only the keys that were created since then
  k6-sweep run --preserve-existing before.keys --redis-url redis://redis:6379 --pattern 'queue:*'
""",
    "k6-sweep check": """\
  # Test the address, the login, TLS and the permissions on every primary
  k6-sweep check --redis-url rediss://redis.staging:6379 --redis-username sweeper \\
      --redis-password-file /etc/k6-sweep/password --pattern 'queue:*'

  # Test a guard as well: Redis must contain this key
  k6-sweep check --redis-url redis://redis:6379 --pattern 'queue:*' --require-marker load-tests-allowed

  # Use the variables of a container
  SWEEP_REDIS_URL=redis://redis:6379 SWEEP_PATTERN='queue:*,dedupe:*' k6-sweep check
""",
    "k6-sweep tests": """\
  # Which tests are running, before a sweep by hand
  k6-sweep tests --redis-url redis://redis:6379 --pattern 'queue:*'

  # For a script
  k6-sweep tests --redis-url redis://redis:6379 --pattern 'queue:*' --output json
""",
    "k6-sweep inject": """\
  # Add k6-sweep to the Job of a load test, and apply it
  k6-sweep inject -f job.yaml -n load-test --image registry.example/k6-sweep:1.0.0 \\
      --redis-url rediss://redis.staging:6379 --redis-password-secret redis --pattern 'queue:*' \\
      --allowed-namespace 'load-*' | kubectl apply -f -

  # Delete only what the test made, and stop the test if Redis cannot be reached
  k6-sweep inject -f job.yaml --image registry.example/k6-sweep:1.0.0 --only-new --preflight \\
      --redis-url redis://redis:6379 --pattern 'queue:*' > job-with-k6-sweep.yaml

  # Remove k6-sweep from a manifest
  k6-sweep inject -f job-with-k6-sweep.yaml --uninject > job.yaml
""",
}
"""Shell commands with a comment above each, by the program that they show: "k6-sweep", or "k6-sweep COMMAND"."""


def end_of_help(program: str) -> str:
    """Return the notes for all programs and the examples of this one."""
    return f"\n{_NOTES}{_EXIT_CODES.get(program, '')}\nExamples:\n{EXAMPLES[program]}"
