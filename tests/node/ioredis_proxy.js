// ioredis through the proxy: transactions, subscriptions, commands that block, scripts, pipelines.
//
//     ioredis_proxy.js PORT
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const Redis = require('ioredis');

const CHANNELS = Array.from({ length: 30 }, (_, number) => `channel:${number * 7919}`);

async function transactions(client) {
  assert.equal(await client.set('{t}n', '1'), 'OK');
  const done = await client.multi().incr('{t}n').get('{t}n').mget('{t}n', '{t}none').exec();
  assert.deepEqual(done, [[null, 2], [null, '2'], [null, ['2', null]]]);
  // Not as one pipeline: each reply is waited for.
  await client.multi({ pipeline: false });
  assert.equal(await client.incr('{t}n'), 'QUEUED');
  assert.deepEqual(await client.exec(), [[null, 3]]);
  await client.multi({ pipeline: false });
  assert.equal(await client.set('{t}n', 'nonsense'), 'QUEUED');
  assert.equal(await client.discard(), 'OK');
  await client.watch('{t}n');
  const other = client.duplicate();
  await other.set('{t}n', '9');
  assert.equal(await client.multi().incr('{t}n').exec(), null);
  assert.equal(await client.multi().incr('{t}n').exec().then(([[, value]]) => value), 10);
  // An error within is that command's alone.
  const [[error], [, value]] = await client.multi().lpush('{t}n', 'x').get('{t}n').exec();
  assert.match(error.message, /WRONGTYPE/);
  assert.equal(value, '10');
  await other.quit();
}

async function blocking(client) {
  const other = client.duplicate();
  assert.equal(await client.blpop('{b}none', 0.05), null);
  const popped = client.blpop('{b}first', '{b}second', 10);
  assert.equal(await other.rpush('{b}second', 'x'), 1);
  assert.deepEqual(await popped, ['{b}second', 'x']);
  const moved = client.blmove('{b}from', '{b}to', 'LEFT', 'RIGHT', 10);
  await other.rpush('{b}from', 'y');
  assert.equal(await moved, 'y');
  const lowest = client.bzpopmin('{b}scores', 10);
  await other.zadd('{b}scores', 2, 'b', 1, 'a');
  assert.deepEqual(await lowest, ['{b}scores', 'a', '1']);
  const read = client.xread('BLOCK', 10_000, 'STREAMS', '{b}stream', '0');
  await other.xadd('{b}stream', '1-1', 'field', 'value');
  assert.deepEqual(await read, [['{b}stream', [['1-1', ['field', 'value']]]]]);
  await client.xgroup('CREATE', '{b}stream', 'group', '$');
  const group = client.xreadgroup(
    'GROUP', 'group', 'me', 'BLOCK', 10_000, 'STREAMS', '{b}stream', '>');
  await other.xadd('{b}stream', '2-1', 'field', 'more');
  assert.deepEqual(await group, [['{b}stream', [['2-1', ['field', 'more']]]]]);
  await other.quit();
}

async function subscriptions(client) {
  const listener = client.duplicate();
  const got = [];
  const all = new Promise((resolve) => {
    const note = (...parts) => got.push(parts.join(' ')) === 2 * CHANNELS.length + 1 && resolve();
    listener.on('message', (channel, text) => note('message', channel, text));
    listener.on('pmessage', (pattern, channel, text) => note('pmessage', pattern, channel, text));
    listener.on('smessage', (channel, text) => note('smessage', channel, text));
  });
  assert.equal(await listener.subscribe(...CHANNELS), CHANNELS.length);
  assert.equal(await listener.psubscribe('channel:*'), CHANNELS.length + 1);
  assert.equal(await listener.ssubscribe('shard'), 1);
  await assert.rejects(listener.get('key'), /subscriber mode/);
  const heard = await client.pubsub('CHANNELS', 'channel:*');
  assert.deepEqual(heard.sort(), [...CHANNELS].sort());
  const counts = await client.pubsub('NUMSUB', CHANNELS[3], 'nobody');
  assert.deepEqual(counts, [CHANNELS[3], 1, 'nobody', 0]);
  assert.equal(await client.pubsub('NUMPAT'), 1);
  await Promise.all(CHANNELS.map((channel) => client.publish(channel, `to ${channel}`)));
  await client.spublish('shard', 'x');
  await all;
  const wanted = CHANNELS.flatMap((channel) => [
    `message ${channel} to ${channel}`, `pmessage channel:* ${channel} to ${channel}`,
  ]);
  assert.deepEqual(got.sort(), [...wanted, 'smessage shard x'].sort());
  await listener.unsubscribe(...CHANNELS);
  await listener.punsubscribe('channel:*');
  await listener.sunsubscribe('shard');
  assert.equal(await listener.get('key'), null);
  await listener.quit();
}

async function scripts(client) {
  client.defineCommand('raise', {
    numberOfKeys: 1,
    lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
  });
  const keys = Array.from({ length: 20 }, (_, number) => `raise:${number * 7919}`);
  for (const key of keys) {
    assert.equal(await client.raise(key, 5), 5);
  }
  // Forgotten at all servers: EVALSHA is answered with NOSCRIPT, and the library falls back to EVAL,
  // which loads the script where that key is.
  assert.equal(await client.script('FLUSH'), 'OK');
  for (const key of keys) {
    assert.equal(await client.raise(key, 5), 10);
  }
  const pipeline = client.pipeline();
  keys.forEach((key) => pipeline.raise(key, 5));
  assert.deepEqual(await pipeline.exec(), keys.map(() => [null, 15]));
  const sha = await client.script('LOAD', 'return ARGV[1]');
  assert.deepEqual(await client.script('EXISTS', sha, 'f'.repeat(40)), [1, 0]);
  for (const key of keys) {
    assert.equal(await client.evalsha(sha, 1, key, key), key);
  }
  await assert.rejects(client.evalsha('f'.repeat(40), 1, 'a'), /NOSCRIPT/);
}

async function pipelines(client) {
  const pipeline = client.pipeline();
  for (let number = 0; number < 500; number += 1) {
    const key = `{p${number}}`;
    pipeline.set(key, number).get(key).multi().incr(key).del(key).exec();
  }
  const replies = await pipeline.exec();
  assert.equal(replies.length, 3000);
  for (let number = 0; number < 500; number += 1) {
    const these = replies.slice(6 * number, 6 * number + 6).map(([error, reply]) => error ?? reply);
    assert.deepEqual(these, ['OK', `${number}`, 'OK', 'QUEUED', 'QUEUED', [number + 1, 1]]);
  }
  // Not waited for one by one: the library sends them as one pipeline by itself.
  const grouped = client.duplicate({ enableAutoPipelining: true });
  const names = Array.from({ length: 200 }, (_, number) => `auto:${number}`);
  await Promise.all(names.map((name) => grouped.set(name, name)));
  assert.deepEqual(await Promise.all(names.map((name) => grouped.get(name))), names);
  await grouped.quit();
}

async function main() {
  const client = new Redis({
    host: '127.0.0.1',
    port: Number(process.argv[2]),
    commandTimeout: 20_000,
    retryStrategy: null,
  });
  await once(client, 'ready');
  for (const check of [transactions, blocking, subscriptions, scripts, pipelines]) {
    await check(client);
  }
  assert.equal(await client.quit(), 'OK');
}

// Not left to end by itself: the library keeps timers of its commandTimeout.
main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
