// A load test that leaves behind what a queueing gateway under load leaves behind: keys of seven kinds, straight into Redis.
import redis from 'k6/experimental/redis';
import { Counter } from 'k6/metrics';

const kinds = ['stream', 'dedupe', 'waiting_token', 'reservation_token', 'idempotency', 'ratelimit', 'queue'];
const written = Object.fromEntries(kinds.map((kind) => [kind, new Counter(`written_${kind}`)]));
const client = new redis.Client({ cluster: { nodes: __ENV.REDIS_NODES.split(',') } });

export const options = {
  scenarios: { load: { executor: 'constant-vus', vus: 8, duration: __ENV.DURATION || '5s' } },
  // A load test that fails its thresholds has to be cleaned up as well: this one always does.
  thresholds: { written_stream: ['count<1'] },
};

export default async function () {
  const id = `${__VU}-${__ITER}`;
  await Promise.all(
    kinds.map(async (kind) => {
      await client.set(`${kind}:${id}`, 'test', 0);
      written[kind].add(1);
    }),
  );
}
