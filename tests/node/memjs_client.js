// The package `memjs`: every method of its client, at a server. It speaks the binary protocol.
//
//     memjs_client.js PORT [USER PASSWORD]
'use strict';

const assert = require('node:assert/strict');
const memjs = require('memjs');

// What a method passes to its callback, an error thrown.
function call(client, method, ...args) {
  return new Promise((resolve, reject) => {
    client[method](...args, (error, ...results) => (error ? reject(error) : resolve(results)));
  });
}

async function text(client, key) {
  const { value } = await client.get(key);
  return value === null ? null : value.toString();
}

async function commands(client) {
  assert.equal(await client.set('a', '1', {}), true);
  assert.equal(await text(client, 'a'), '1');
  assert.equal(await text(client, 'missing'), null);
  assert.equal(await client.add('a', '2', {}), false);
  assert.equal(await client.add('b', '2', {}), true);
  assert.equal(await client.replace('b', '3', {}), true);
  assert.equal(await client.replace('missing', '3', {}), false);
  assert.deepEqual(await call(client, 'append', 'b', '4'), [true]);
  // It sends the opcode of `append` for both.
  assert.deepEqual(await call(client, 'prepend', 'b', '5'), [true]);
  await assert.rejects(call(client, 'append', 'missing', '4'), /Item not stored/);
  assert.equal(await text(client, 'b'), '345');
  assert.deepEqual(await call(client, 'touch', 'b', 1000), [true]);
  assert.deepEqual(await call(client, 'touch', 'missing', 1000), [false]);
  assert.equal(await client.delete('b'), true);
  assert.equal(await client.delete('b'), false);
}

async function numbers(client) {
  const number = async (...args) => {
    const { success, value } = await client[args[0]](...args.slice(1));
    return success && value;
  };
  assert.equal(await number('increment', 'n', 5, { initial: 10 }), 10);
  assert.equal(await number('increment', 'n', 5, {}), 15);
  assert.equal(await number('decrement', 'n', 1, {}), 14);
  assert.equal(await number('decrement', 'n', 100, {}), 0);
  await client.set('n', '10', {});
  assert.equal(await number('increment', 'n', 1, {}), 11);
  assert.equal(await text(client, 'n'), '11');
}

async function kinds(client) {
  for (const size of [0, 1, 4095, 65_536, 300_000, 1_000_000]) {
    const value = Buffer.alloc(size, 'abc\r\n\0é');
    assert.equal(await client.set('large', value, {}), true);
    const got = await client.get('large');
    assert.ok(value.equals(got.value));
    assert.equal(got.flags.readUInt32BE(0), 0);
  }
  const key = 'any byte \r\n\u0001é';
  await client.set(key, 'x', {});
  assert.equal(await text(client, key), 'x');
  await assert.rejects(client.set('large', Buffer.alloc(1_100_000), {}));
}

async function many(client) {
  const names = Array.from({ length: 500 }, (_, number) => `many:${number}`);
  await Promise.all(names.map((name) => client.set(name, `value of ${name}`, {})));
  const found = await Promise.all(names.map((name) => text(client, name)));
  assert.deepEqual(found, names.map((name) => `value of ${name}`));
}

async function figures(client) {
  const [server, values] = await call(client, 'stats');
  assert.match(server, /:\d+$/);
  for (const figure of ['pid', 'uptime', 'version', 'curr_items', 'cmd_get', 'limit_maxbytes']) {
    assert.ok(figure in values, `${figure} is missing`);
  }
  assert.match(values.version, /^1\.6\./);
  await call(client, 'resetStats');
  await client.flush();
  assert.equal(await text(client, 'a'), null);
}

async function main() {
  const [port, username, password] = process.argv.slice(2);
  const client = memjs.Client.create(`127.0.0.1:${port}`, {
    username, password, retries: 1, timeout: 10, conntimeout: 10,
  });
  for (const check of [commands, numbers, kinds, many, figures]) {
    await check(client);
  }
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
