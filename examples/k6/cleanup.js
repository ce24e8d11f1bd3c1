// Asks k6-sweep's endpoint to sweep the test's keys when the test is over, and waits for the end of the sweep:
//
//   import { cleanup } from './cleanup.js';
//
//   export const options = {
//     teardownTimeout: '5m', // k6's own limit is 60 s
//     thresholds: { 'checks{check:k6-sweep has swept}': ['rate==1'] }, // a failed cleanup fails the run
//   };
//   export function teardown() { cleanup(); }
//
// k6 counts these requests in its own http metrics, with the tag name:k6-sweep; thresholds can exclude them.
//
// K6_SWEEP_URL and K6_SWEEP_TOKEN give the endpoint and its token; a line end after the token, as a Secret made
// from a file has it, does not matter. The endpoint's own settings decide which keys it sweeps.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const deletedKeys = new Counter('k6_sweep_deleted_keys');

const PATH = '/internal/redis/cleanup';
const RESERVE = 5; // seconds of teardownTimeout that remain for the last answer and for the rest of teardown()
const REFUSED = 1212; // https://grafana.com/docs/k6/latest/javascript-api/error-codes/
const PATIENCE = 10; // seconds for an endpoint that refuses the connection: it may be starting; a wrong address does not get better
const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };

// Sweeps and returns k6-sweep's report, or null if there is none. It never throws: the check and the log show a failure.
//   url, token  the endpoint and its token
//   patterns    what to sweep; each must lie within the endpoint's own patterns, which are the default; not an empty list
//   dryRun      only count; delete nothing
//   seconds     how long to wait; the default is teardownTimeout less RESERVE
export function cleanup({ url = __ENV.K6_SWEEP_URL, token = __ENV.K6_SWEEP_TOKEN, patterns, dryRun = false, seconds } = {}) {
  const until = Date.now() + 1000 * (seconds || Math.max(1, teardownSeconds() - RESERVE));
  const missing = Object.entries({ K6_SWEEP_URL: url, K6_SWEEP_TOKEN: token }).filter(([, value]) => !value).map(([name]) => name);
  const outcome = missing.length ? { error: `${missing.join(' and ')} not set` } : sweep(url, token, { patterns, dry_run: dryRun }, until);
  check(outcome, { 'k6-sweep has swept': ({ error }) => !error });
  if (outcome.error) {
    console.error(`k6-sweep: ${outcome.error}`);
  } else {
    console.log(`k6-sweep: ${outcome.report.status}, ${outcome.report.matched} keys found, ${outcome.deleted_count} deleted`);
  }
  deletedKeys.add(outcome.deleted_count || 0);
  return outcome.report || null;
}

// Starts a sweep, if necessary after another one has ended, and waits for its end.
function sweep(url, token, order, until) {
  const left = () => Math.max(500, Math.min(10000, until - Date.now())); // time limit for the next answer, in ms
  const params = () => ({
    headers: { 'X-Admin-Token': token.trim(), 'Content-Type': 'application/json', Prefer: 'respond-async' },
    tags: { name: 'k6-sweep' }, // one name for all of these requests in k6's metrics
    responseCallback: http.expectedStatuses({ min: 200, max: 599 }), // an error of k6-sweep is not a failure of the tested system
    timeout: left(),
  });
  const base = url.replace(/\/+$/, '');
  let givesUp = Infinity; // PATIENCE after the first refusal in a row
  let started;
  let pause = 1;
  for (;;) {
    started = http.post(`${base}${PATH}`, JSON.stringify(order), params());
    // A running test, perhaps this one, has a watcher that will delete these keys at its end: nothing is left to do.
    if (started.status === 409 && (parsed(started) || {}).will_sweep) return { report: { status: 'handed-over', matched: 0 }, deleted_count: 0 };
    givesUp = started.error_code === REFUSED ? Math.min(givesUp, Date.now() + 1000 * PATIENCE) : Infinity;
    if (!mayRetry(started) || Date.now() >= Math.min(until, givesUp)) break;
    sleep(pause);
    pause = Math.min(5, pause * 1.5);
  }
  if (started.status !== 202 || !started.headers.Location) return { error: problem(started) };
  const sweepUrl = `${base}${started.headers.Location}`;
  let now = {};
  for (;;) {
    const answer = http.get(sweepUrl, params());
    const body = answer.status === 200 ? parsed(answer) : null;
    if (body && body.report) {
      now = body;
      if (body.report.status !== 'sweeping') return body;
    } else if (!mayRetry(answer)) {
      return { ...now, error: problem(answer) };
    }
    if (Date.now() >= until) {
      const state =
        answer.status === 0
          ? `the endpoint stopped answering: ${answer.error}; check that it is running, and the sweep at ${sweepUrl}`
          : `the sweep is still running; read its state at ${sweepUrl}; raise teardownTimeout, or the seconds passed to cleanup()`;
      return { ...now, error: state };
    }
    sleep(0.5);
  }
}

// The JSON of an answer, or null if it has none.
function parsed(answer) {
  try {
    return answer.json() || null;
  } catch (_) {
    return null;
  }
}

// Whether a retry may help: another sweep is running, or Redis or the endpoint is unavailable for a moment. A retry does not help against a
// wrong URL or certificate. Source: https://grafana.com/docs/k6/latest/javascript-api/error-codes/
function mayRetry(answer) {
  const network = answer.error_code === 1050 || (answer.error_code >= 1100 && answer.error_code < 1300);
  return answer.status === 0 ? network : [409, 502, 503].includes(answer.status);
}

// What went wrong, with the URL.
function problem(answer) {
  if (answer.status === 0) return `no answer from ${answer.url}: ${answer.error}`;
  const body = parsed(answer);
  return body && body.error ? `${body.error} (HTTP ${answer.status}, ${answer.url})` : `HTTP ${answer.status}: is ${answer.url} k6-sweep's endpoint?`;
}

function teardownSeconds() {
  const parts = String(exec.test.options.teardownTimeout || '60s').match(/[\d.]+(ms|s|m|h)/g) || [];
  return parts.reduce((sum, part) => sum + parseFloat(part) * UNITS[part.replace(/[\d.]+/, '')], 0) || 60;
}
