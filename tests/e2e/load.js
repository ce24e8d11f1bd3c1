// A load test that writes KEYS keys of its own, runs for SECONDS more (of several pods, each longer than the one before), and can fail in the ways
// that tests need.
import redis from 'k6/experimental/redis';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const client = new redis.Client({ cluster: { nodes: __ENV.NODES.split(',') } });
const share = Number(__ENV.KEYS) / 4;
const keys = new Counter('keys');

export const options = {
  scenarios: { load: { executor: 'per-vu-iterations', vus: 4, iterations: 1, maxDuration: '10m' } },
  thresholds: __ENV.THRESHOLD ? { keys: [__ENV.THRESHOLD] } : {},
};

export default async function () {
  for (let first = 0; first < share; first += 100) {
    const batch = Array.from({ length: Math.min(100, share - first) }, (_, index) => first + index);
    await Promise.all(batch.map((number) => client.set(`${__ENV.PREFIX}:${__VU}-${number}`, 'test', 0)));
    keys.add(batch.length);
  }
  const hog = [];
  while (hog.length < Number(__ENV.HOG_MIB || 0)) {
    hog.push(new Uint8Array(1048576).fill(1));
  }
  sleep(Number(__ENV.SECONDS) * (1 + Number(__ENV.JOB_COMPLETION_INDEX || 0)));
}
