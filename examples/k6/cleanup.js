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
// Its requests are among k6's own http metrics, under the tag name:k6-sweep; thresholds can leave them out.
//
// The endpoint and its token come from K6_SWEEP_URL and K6_SWEEP_TOKEN; what is swept, from the endpoint's own settings.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const deletedKeys = new Counter('k6_sweep_deleted_keys');

const PATH = '/internal/redis/cleanup';
const RESERVE = 5; // seconds of teardownTimeout that are left for the last answer, and for what else teardown() does
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
  const left = () => Math.max(500, Math.min(10000, until - Date.now())); // ms that the next answer may take
  const params = () => ({
    headers: { 'X-Admin-Token': token, 'Content-Type': 'application/json', Prefer: 'respond-async' },
    tags: { name: 'k6-sweep' }, // one name for all of these requests in k6's metrics
    responseCallback: http.expectedStatuses({ min: 200, max: 599 }), // what they answer is no failure of the tested system
    timeout: left(),
  });
  const base = url.replace(/\/+$/, '');
  let begun;
  let pause = 1;
  for (;;) {
    begun = http.post(`${base}${PATH}`, JSON.stringify(order), params());
    if (!mayPass(begun) || Date.now() >= until) break;
    sleep(pause);
    pause = Math.min(5, pause * 1.5);
  }
  if (begun.status !== 202 || !begun.headers.Location) return { error: said(begun) };
  const place = `${base}${begun.headers.Location}`;
  let now = {};
  for (;;) {
    const answer = http.get(place, params());
    const heard = answer.status === 200 ? parsed(answer) : null;
    if (heard && heard.report) {
      now = heard;
      if (heard.report.status !== 'sweeping') return heard;
    } else if (!mayPass(answer)) {
      return { ...now, error: said(answer) };
    }
    if (Date.now() >= until) {
      const state = answer.status === 0 ? `no answer any more: ${answer.error}` : 'not done in time, and still running';
      return { ...now, error: `${state}; see ${place}; teardownTimeout, or the seconds given to cleanup(), may be too short` };
    }
    sleep(0.5);
  }
}

// The JSON in an answer; null where there is none.
function parsed(answer) {
  try {
    return answer.json() || null;
  } catch (_) {
    return null;
  }
}

// Whether asking again may help: after a sweep that is in the way, a Redis or an endpoint that is away for a moment. A URL or a certificate
// that is wrong stays wrong. Source: https://grafana.com/docs/k6/latest/javascript-api/error-codes/
function mayPass(answer) {
  const network = answer.error_code === 1050 || (answer.error_code >= 1100 && answer.error_code < 1300);
  return answer.status === 0 ? network : [409, 502, 503].includes(answer.status);
}

function said(answer) {
  if (answer.status === 0) return `no answer from ${answer.url}: ${answer.error}`;
  const heard = parsed(answer);
  return heard && heard.error ? `${heard.error} (HTTP ${answer.status}, ${answer.url})` : `HTTP ${answer.status}: is ${answer.url} k6-sweep's endpoint?`;
}

function teardownSeconds() {
  const parts = String(exec.test.options.teardownTimeout || '60s').match(/[\d.]+(ms|s|m|h)/g) || [];
  return parts.reduce((sum, part) => sum + parseFloat(part) * UNITS[part.replace(/[\d.]+/, '')], 0) || 60;
}
