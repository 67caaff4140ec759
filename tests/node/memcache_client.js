// The package `memcache-client`: every method of its client, at a server.
//
//     memcache_client.js PORT
'use strict';

const assert = require('node:assert/strict');
const { MemcacheClient } = require('memcache-client');

const STORED = ['STORED'];

async function commands(client) {
  assert.deepEqual(await client.set('a', '1'), STORED);
  assert.equal((await client.get('a')).value, '1');
  assert.equal(await client.get('missing'), undefined);
  await assert.rejects(client.add('a', '2'), { message: 'NOT_STORED' });
  assert.deepEqual(await client.add('b', '2'), STORED);
  assert.deepEqual(await client.replace('b', '3'), STORED);
  await assert.rejects(client.replace('missing', '3'), { message: 'NOT_STORED' });
  assert.deepEqual(await client.append('b', '4'), STORED);
  assert.deepEqual(await client.prepend('b', '2'), STORED);
  assert.equal((await client.get('b')).value, '234');
  const { value, casUniq } = await client.gets('b');
  assert.equal(value, '234');
  assert.deepEqual(await client.cas('b', '5', { casUniq }), STORED);
  await assert.rejects(client.cas('b', '6', { casUniq }), { message: 'EXISTS' });
  await assert.rejects(client.cas('missing', '6', { casUniq }), { message: 'NOT_FOUND' });
  assert.deepEqual(await client.touch('b', 1000), ['TOUCHED']);
  await assert.rejects(client.touch('missing', 1000), { message: 'NOT_FOUND' });
  assert.deepEqual(await client.delete('b'), ['DELETED']);
  await assert.rejects(client.delete('b'), { message: 'NOT_FOUND' });
}

async function numbers(client) {
  await client.set('n', '10');
  assert.equal(await client.incr('n', 5), '15');
  assert.equal(await client.decr('n', 1), '14');
  assert.equal(await client.decr('n', 100), '0');
  await assert.rejects(client.incr('missing', 1), { message: 'NOT_FOUND' });
  await client.set('text', 'x');
  await assert.rejects(client.incr('text', 1), /CLIENT_ERROR/);
  assert.equal((await client.get('text')).value, 'x');
}

async function kinds(client) {
  for (const value of ['', 'é', 7, { list: [1, 'x'], none: null }, Buffer.from('\r\n\0x')]) {
    assert.deepEqual(await client.set('kind', value), STORED);
    assert.deepEqual((await client.get('kind')).value, value);
  }
  for (const size of [1, 4095, 4096, 16384, 65536, 500_000, 1_000_000]) {
    const value = Buffer.alloc(size, 'abcdefg');
    assert.deepEqual(await client.set('large', value), STORED);
    assert.ok(value.equals((await client.get('large')).value));
  }
}

async function many(client) {
  const names = Array.from({ length: 500 }, (_, number) => `many:${number}`);
  await Promise.all(names.map((name) => client.set(name, `value of ${name}`)));
  for (const command of ['get', 'gets']) {
    const found = await client[command](names.concat('missing'));
    assert.deepEqual(Object.keys(found).sort(), [...names].sort());
    for (const name of names) {
      assert.equal(found[name].value, `value of ${name}`);
      assert.equal(found[name].casUniq !== undefined, command === 'gets');
    }
  }
}

// What is not waited for is done before what is asked next.
async function quiet(client) {
  for (let number = 0; number < 500; number += 1) {
    client.set(`q${number}`, `${number}`, { noreply: true });
  }
  client.delete('q1', { noreply: true });
  client.incr('q2', 40, { noreply: true });
  client.touch('q3', 1000, { noreply: true });
  assert.equal(await client.get('q1'), undefined);
  assert.equal((await client.get('q2')).value.trim(), '42');
  assert.equal((await client.get('q499')).value, '499');
}

async function lines(client) {
  assert.deepEqual(await client.send('set raw 0 0 5\r\nhello\r\n'), STORED);
  assert.equal((await client.get('raw')).value, 'hello');
  const [name] = await client.version();
  assert.equal(name, 'VERSION');
  const { STAT: figures } = await client.cmd('stats');
  const names = figures.map(([figure]) => figure);
  for (const figure of ['pid', 'uptime', 'version', 'curr_items', 'cmd_get', 'limit_maxbytes']) {
    assert.ok(names.includes(figure), `${figure} is missing`);
  }
  assert.deepEqual(await client.cmd('flush_all'), ['OK']);
  assert.equal(await client.get('raw'), undefined);
}

async function main() {
  const server = { server: `127.0.0.1:${process.argv[2]}`, maxConnections: 1 };
  const client = new MemcacheClient({ server, cmdTimeout: 10_000 });
  for (const check of [commands, numbers, kinds, many, quiet, lines]) {
    await check(client);
  }
  client.shutdown();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
