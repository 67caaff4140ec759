// ioredis at a cache server, or at a pool: strings, keys, expiry, pipelines, transactions.
//
//     ioredis_client.js PORT [pool]
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');

async function strings(client) {
  assert.equal(await client.set('a', '1'), 'OK');
  assert.equal(await client.get('a'), '1');
  assert.equal(await client.get('missing'), null);
  assert.equal(await client.set('a', '2', 'NX'), null);
  assert.equal(await client.set('a', '2', 'EX', 1000, 'GET'), '1');
  assert.equal(await client.setnx('b', '3'), 1);
  assert.equal(await client.getset('b', '4'), '3');
  assert.equal(await client.getdel('b'), '4');
  assert.equal(await client.append('a', '34'), 3);
  assert.equal(await client.strlen('a'), 3);
  assert.equal(await client.getrange('a', 1, -1), '34');
  assert.equal(await client.setrange('a', 1, 'xy'), 3);
  assert.equal(await client.incr('n'), 1);
  assert.equal(await client.incrby('n', 10), 11);
  assert.equal(await client.decrby('n', 1), 10);
  assert.equal(await client.decr('n'), 9);
  assert.equal(await client.incrbyfloat('f', 1.5), '1.5');
  assert.equal(await client.setbit('bits', 7, 1), 0);
  assert.equal(await client.getbit('bits', 7), 1);
  assert.equal(await client.bitcount('bits'), 1);
  await assert.rejects(client.incr('a'), /not an integer/);
}

async function expiry(client) {
  assert.equal(await client.setex('ttl', 1000, 'x'), 'OK');
  assert.ok([999, 1000].includes(await client.ttl('ttl')));
  assert.ok((await client.pttl('ttl')) > 990_000);
  assert.equal(await client.persist('ttl'), 1);
  assert.equal(await client.ttl('ttl'), -1);
  assert.equal(await client.ttl('missing'), -2);
  assert.equal(await client.expire('ttl', 2000), 1);
  assert.equal(await client.pexpire('ttl', 500_000, 'LT'), 1);
  assert.equal(await client.getex('ttl', 'PERSIST'), 'x');
  assert.equal(await client.psetex('short', 100, 'x'), 'OK');
  const end = Date.now() + 10_000;
  while ((await client.get('short')) !== null) {
    assert.ok(Date.now() < end, 'it does not expire');
  }
}

async function keys(client) {
  await client.flushall();
  const names = Array.from({ length: 300 }, (_, number) => `k:${number}`).sort();
  assert.equal(await client.mset(new Map(names.map((name) => [name, name]))), 'OK');
  assert.deepEqual(await client.mget(...names, 'missing'), [...names, null]);
  assert.equal(await client.dbsize(), 300);
  assert.deepEqual((await client.keys('k:*')).sort(), names);
  const found = new Set();
  for await (const some of client.scanStream({ match: 'k:*', count: 50 })) {
    some.forEach((name) => found.add(name));
  }
  assert.deepEqual([...found].sort(), names);
  assert.equal(await client.exists('k:1', 'k:2', 'missing'), 2);
  assert.equal(await client.type('k:1'), 'string');
  assert.equal(await client.rename('k:1', 'r:1'), 'OK');
  assert.equal(await client.renamenx('r:1', 'k:2'), 0);
  assert.equal(await client.copy('k:2', 'c:2'), 1);
  assert.equal(await client.touch('k:2', 'missing'), 1);
  assert.equal(await client.del('k:2', 'k:3', 'missing'), 2);
  assert.equal(await client.unlink('k:4'), 1);
  assert.ok((await client.randomkey()).includes(':'));
  assert.equal(await client.flushdb(), 'OK');
}

async function large(client) {
  for (const size of [0, 1, 4096, 65536, 1_000_000, 10_000_000]) {
    const value = Buffer.alloc(size, '\r\n\0\xff$', 'latin1');
    assert.equal(await client.set('large', value), 'OK');
    assert.ok(value.equals(await client.getBuffer('large')));
  }
}

async function together(client) {
  const pipeline = client.pipeline();
  for (let number = 0; number < 2000; number += 1) {
    pipeline.set(`p${number}`, number).get(`p${number}`);
  }
  const replies = await pipeline.exec();
  assert.equal(replies.length, 4000);
  replies.forEach(([error, reply], at) => {
    assert.equal(error, null);
    assert.equal(reply, at % 2 === 0 ? 'OK' : `${(at - 1) / 2}`);
  });
  const done = await client.multi().set('t', '1').incr('t').get('t').exec();
  assert.deepEqual(done, [[null, 'OK'], [null, 2], [null, '2']]);
  await client.watch('t');
  const other = client.duplicate();
  await other.set('t', '9');
  assert.equal(await client.multi().set('t', '10').exec(), null);
  assert.equal(await other.get('t'), '9');
  await other.quit();
  // Not waited for one by one: the library sends them as one pipeline by itself.
  const grouped = client.duplicate({ enableAutoPipelining: true });
  const values = await Promise.all(Array.from({ length: 200 }, (_, n) => grouped.get(`p${n}`)));
  assert.deepEqual(values, Array.from({ length: 200 }, (_, n) => `${n}`));
  await grouped.quit();
}

async function servers(client) {
  assert.equal(await client.ping(), 'PONG');
  assert.equal(await client.echo('hello'), 'hello');
  if (process.argv[3] !== 'pool') {
    assert.match(await client.info(), /redis_version:/);
    assert.equal((await client.config('GET', 'maxmemory'))[0], 'maxmemory');
  }
  assert.ok((await client.client('ID')) > 0);
  assert.equal((await client.time()).length, 2);
  await assert.rejects(client.call('NOSUCHCOMMAND', 'x'), /unknown command/);
  await assert.rejects(client.call('GET'), /wrong number of arguments/);
}

async function main() {
  const client = new Redis({
    host: '127.0.0.1',
    port: Number(process.argv[2]),
    connectionName: 'test',
    commandTimeout: 10_000,
    retryStrategy: null,
  });
  await client.flushall();
  for (const check of [strings, expiry, keys, large, together, servers]) {
    await check(client);
  }
  assert.equal(await client.quit(), 'OK');
}

// Not left to end by itself: the library keeps timers of its commandTimeout.
main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
