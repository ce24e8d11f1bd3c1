#!/usr/bin/env bash
# The guide's shell script, repaired: on each primary, for each pattern, one UNLINK for each key by redis-cli --pipe.
#   shell.sh REDIS_CLI PORT…
set -euo pipefail
cli=$1
shift
for port in "$@"; do
  for pattern in 'stream:*' 'dedupe:*' 'waiting_token:*' 'reservation_token:*' 'idempotency:*' 'ratelimit:*' 'queue:*'; do
    "$cli" -p "$port" --scan --pattern "$pattern" | sed 's/^/UNLINK /' | "$cli" -p "$port" --pipe >/dev/null
  done
done
