// Has k6-sweep's endpoint sweep the test's keys when the test is over, and waits for it:
//
//   import { cleanup } from './cleanup.js';
//
//   export const options = {
//     teardownTimeout: '5m', // k6's own limit is 60 s
//     thresholds: { 'checks{check:k6-sweep has swept}': ['rate==1'] }, // a failed cleanup fails the run
//   };
//   export function teardown() { cleanup(); }
//
// The endpoint and its token come from K6_SWEEP_URL and K6_SWEEP_TOKEN; what is swept, from the endpoint's own settings.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const deletedKeys = new Counter('k6_sweep_deleted_keys');

const PATH = '/internal/redis/cleanup';
const RESERVE = 5; // seconds of teardownTimeout that are left for what else teardown() does
const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };

// Sweeps, and returns k6-sweep's report; null where there is none. It throws nothing: the check tells, and the log.
//   url, token  the endpoint and its token
//   patterns    less than the endpoint is configured for
//   dryRun      count, and delete nothing
//   seconds     how long to wait; teardownTimeout less a little
export function cleanup({ url = __ENV.K6_SWEEP_URL, token = __ENV.K6_SWEEP_TOKEN, patterns = [], dryRun = false, seconds } = {}) {
  const until = Date.now() + 1000 * (seconds || Math.max(1, teardownSeconds() - RESERVE));
  const outcome = url && token ? sweep(url, token, { patterns, dry_run: dryRun }, until) : { error: 'set K6_SWEEP_URL and K6_SWEEP_TOKEN' };
  check(outcome, { 'k6-sweep has swept': ({ error }) => !error });
  if (outcome.error) {
    console.error(`k6-sweep: ${outcome.error}`);
  } else {
    console.log(`k6-sweep: ${outcome.report.status}, ${outcome.report.matched} keys found, ${outcome.deleted_count} deleted`);
  }
  deletedKeys.add(outcome.deleted_count || 0);
  return outcome.report || null;
}

// Begins a sweep, after another one if need be, and follows it to its end.
function sweep(url, token, order, until) {
  const params = {
    headers: { 'X-Admin-Token': token, 'Content-Type': 'application/json', Prefer: 'respond-async' },
    tags: { name: 'k6-sweep' }, // one name for all of these requests in k6's metrics
    responseCallback: http.expectedStatuses({ min: 200, max: 599 }), // what they answer is no failure of the tested system
    timeout: '10s',
  };
  let begun;
  for (;;) {
    begun = http.post(`${url}${PATH}`, JSON.stringify(order), params);
    if (![0, 409, 502, 503].includes(begun.status) || Date.now() >= until) break; // these may pass
    sleep(1);
  }
  if (begun.status !== 202) return { error: said(begun) };
  const place = `${url}${begun.headers.Location}`;
  for (;;) {
    const answer = http.get(place, params);
    const now = answer.status === 200 ? answer.json() : null;
    if (now && now.report.status !== 'sweeping') return now;
    if (answer.status !== 200 && answer.status !== 0) return { error: said(answer) };
    if (Date.now() >= until) {
      return { ...now, error: `not done in time, and still running: see ${place}; raise teardownTimeout, or the seconds given to cleanup()` };
    }
    sleep(0.5);
  }
}

function said(answer) {
  if (answer.status === 0) return `no answer: ${answer.error}`;
  try {
    return `${answer.json('error')} (HTTP ${answer.status})`;
  } catch (_) {
    return `HTTP ${answer.status}: is this k6-sweep's endpoint?`;
  }
}

function teardownSeconds() {
  const parts = String(exec.test.options.teardownTimeout || '60s').match(/[\d.]+(ms|s|m|h)/g) || [];
  return parts.reduce((sum, part) => sum + parseFloat(part) * UNITS[part.replace(/[\d.]+/, '')], 0) || 60;
}
