// A load test that cleans up in its teardown(), by k6-sweep's endpoint: see cleanup.js.
import http from 'k6/http';
import { cleanup } from './cleanup.js';

export const options = {
  vus: 5,
  duration: __ENV.DURATION || '30s',
  teardownTimeout: '5m',                                              // k6's own limit is 60 s
  thresholds: { 'checks{check:k6-sweep has swept}': ['rate==1'] },    // a failed cleanup fails the test
};

export default function () {
  http.get(__ENV.TARGET_URL);
}

export function teardown() {
  cleanup();
}
