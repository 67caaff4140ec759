// The package `memcached`: every method of its client, at a server.
//
//     memcached_client.js PORT
'use strict';

const assert = require('node:assert/strict');
const { promisify } = require('node:util');
const Memcached = require('memcached');

// What is used of the library, as promises.
const METHODS = [
  'add', 'append', 'cas', 'decr', 'del', 'flush', 'get', 'getMulti', 'gets', 'incr',
  'items', 'prepend', 'replace', 'set', 'settings', 'slabs', 'stats', 'touch', 'version',
];

function promising(client) {
  return Object.fromEntries(METHODS.map((name) => [name, promisify(client[name].bind(client))]));
}

const notStored = { message: 'Item is not stored' };

async function commands(client) {
  assert.equal(await client.set('a', '1', 1000), true);
  assert.equal(await client.get('a'), '1');
  assert.equal(await client.get('missing'), undefined);
  await assert.rejects(client.add('a', '2', 1000), notStored);
  assert.equal(await client.add('b', '2', 1000), true);
  assert.equal(await client.replace('b', '3', 1000), true);
  await assert.rejects(client.replace('missing', '3', 1000), notStored);
  assert.equal(await client.append('b', '4'), true);
  assert.equal(await client.prepend('b', '2'), true);
  await assert.rejects(client.append('missing', 'x'), notStored);
  assert.equal(await client.get('b'), '234');
  const { b, cas } = await client.gets('b');
  assert.equal(b, '234');
  assert.equal(await client.cas('b', '5', cas, 1000), true);
  assert.equal(await client.cas('b', '6', cas, 1000), false);
  assert.equal(await client.get('b'), '5');
  assert.equal(await client.touch('b', 1000), true);
  assert.equal(await client.touch('missing', 1000), false);
  assert.equal(await client.del('b'), true);
  assert.equal(await client.del('b'), false);
}

async function numbers(client) {
  assert.equal(await client.set('n', 10, 1000), true);
  assert.equal(await client.incr('n', 5), 15);
  assert.equal(await client.decr('n', 1), 14);
  assert.equal(await client.decr('n', 100), 0);
  assert.equal(await client.incr('missing', 1), false);
  await client.set('text', 'x', 1000);
  await assert.rejects(client.incr('text', 1), /cannot increment or decrement non-numeric value/);
  assert.equal(await client.get('text'), 'x');
}

async function kinds(client) {
  for (const value of ['', 'é', 7, true, { list: [1, 'x'], none: null }, Buffer.from('\r\n\0x')]) {
    assert.equal(await client.set('kind', value, 1000), true);
    assert.deepEqual(await client.get('kind'), value);
  }
  for (const size of [1, 4095, 4096, 16384, 65536, 500_000, 1_000_000]) {
    const value = 'abcdefg'.repeat(size / 7 + 1).slice(0, size);
    assert.equal(await client.set('large', value, 1000), true);
    assert.equal(await client.get('large'), value);
  }
}

async function many(client) {
  const names = Array.from({ length: 500 }, (_, number) => `many:${number}`);
  const values = Object.fromEntries(names.map((name) => [name, `value of ${name}`]));
  await Promise.all(names.map((name) => client.set(name, values[name], 1000)));
  assert.deepEqual(await client.getMulti(names.concat('missing')), values);
  // Many at a time, over all connections of its pool.
  const found = await Promise.all(names.map((name) => client.get(name)));
  assert.deepEqual(found, names.map((name) => values[name]));
}

async function expiring(client) {
  assert.equal(await client.set('short', 'x', 1), true);
  const end = Date.now() + 10_000;
  while ((await client.get('short')) !== undefined) {
    assert.ok(Date.now() < end, 'it does not expire');
  }
}

async function servers(client, address) {
  const [version] = await client.version();
  assert.equal(version.server, address);
  const [figures] = await client.stats();
  for (const figure of ['pid', 'uptime', 'version', 'curr_items', 'cmd_get', 'limit_maxbytes']) {
    assert.ok(figure in figures, `${figure} is missing`);
  }
  assert.ok(figures.curr_items > 0);
  const [settings] = await client.settings();
  assert.ok(settings.maxbytes > 0);
  const [slabs] = await client.slabs();
  assert.ok('active_slabs' in slabs);
  const [items] = await client.items();
  assert.ok(items.server);
  assert.deepEqual(await client.flush(), [true]);
  assert.equal(await client.get('a'), undefined);
}

async function main() {
  const address = `127.0.0.1:${process.argv[2]}`;
  const library = new Memcached(address, { timeout: 10_000, retries: 0 });
  library.on('issue', (details) => assert.fail(`${details.messages}`));
  const client = promising(library);
  for (const check of [commands, numbers, kinds, many, expiring, servers]) {
    await check(client, address);
  }
  library.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
