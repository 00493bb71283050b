// Opens the application of page_server.py in Chromium: browser.mjs PROGRAM PORT HOST PROFILE RELAY. The port is listened on
// here, in the network of this process, and its connections go on over the relay's Unix socket.
import assert from 'node:assert/strict';
import net from 'node:net';
import puppeteer from 'puppeteer-core';

const [program, port, host, profile, relay] = process.argv.slice(2);
const relayed = net.createServer({ allowHalfOpen: true, noDelay: true }, (inner) => {
  const outer = net.connect({ path: relay, allowHalfOpen: true });
  // What breaks on one side breaks on the other.
  inner.on('error', () => outer.destroy());
  outer.on('error', () => inner.destroy());
  inner.pipe(outer).pipe(inner);
});
await new Promise((done) => relayed.listen(port, '127.0.0.1', done));
const browser = await puppeteer.launch({
  executablePath: program,
  userDataDir: profile,
  acceptInsecureCerts: true,
  // The service's name need not resolve on this machine.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--host-resolver-rules=MAP ${host} 127.0.0.1`],
});
try {
  const page = await browser.newPage();
  const handshakes = [];
  const devtools = await page.createCDPSession();
  await devtools.send('Network.enable');
  devtools.on('Network.webSocketHandshakeResponseReceived', (event) => handshakes.push(event.response.status));

  const response = await page.goto(`https://${host}:${port}/`);
  assert.equal(response.status(), 200);
  assert.equal(await page.$eval('#text', (text) => text.textContent), 'hello');

  const failures = [];
  page.on('requestfailed', (request) => failures.push(`${request.url()} ${request.failure().errorText}`));
  const evaluated = page.evaluate(async () => {
    const text = (bytes) => new TextDecoder().decode(bytes);
    // "Failed to fetch" alone would not say which.
    const get = (path, options) =>
      fetch(path, options).catch((error) => {
        throw new Error(`${path}: ${error}`);
      });
    const go = () => get('/go', { method: 'POST' });
    const seen = { protocol: performance.getEntriesByType('navigation')[0].nextHopProtocol };

    // A response in parts: the second comes only after the first was seen.
    const parts = (await get('/stream')).body.getReader();
    seen.parts = [text((await parts.read()).value)];
    await go();
    seen.parts.push(text((await parts.read()).value));
    seen.end = (await parts.read()).done;

    // Events, the last one after the others were seen.
    seen.events = await new Promise((done, failed) => {
      const [source, events] = [new EventSource('/events'), []];
      source.onerror = () => failed(new Error('the events broke off'));
      source.onmessage = async (event) => {
        events.push(`${event.lastEventId} ${event.data}`);
        if (events.length === 3) await go();
        if (events.length === 4) done(events), source.close();
      };
    });

    // A body that is made while it is sent.
    let left = 20;
    const body = new ReadableStream({
      pull: (sink) => (left-- > 0 ? sink.enqueue(new Uint8Array(50_000)) : sink.close()),
    });
    seen.upload = await (await get('/upload', { method: 'POST', body, duplex: 'half' })).text();
    seen.large = (await (await get('/large')).arrayBuffer()).byteLength;

    seen.websocket = await new Promise((done, failed) => {
      const socket = new WebSocket(`wss://${location.host}/ws`);
      const [heard, said] = [[], ['a', 'b'.repeat(300), 'c'.repeat(100_000)]];
      socket.onerror = () => failed(new Error('the WebSocket failed'));
      socket.onopen = () => said.forEach((message) => socket.send(message));
      socket.onmessage = (event) => {
        heard.push(event.data.length);
        if (heard.length === said.length) socket.close(4002, 'enough');
      };
      socket.onclose = (event) => done([...heard, event.code, event.wasClean]);
    });
    return seen;
  });
  const seen = await evaluated.catch((error) => assert.fail(`${error} ${failures}`));
  assert.deepEqual(seen, {
    protocol: 'h2',
    parts: ['one', 'two'],
    end: true,
    events: ['0 event 0', '1 event 1', '2 event 2', '3 last'],
    upload: '1000000',
    large: 8 << 20,
    websocket: [1, 300, 100_000, 4002, true],
  });
  // Over HTTP/2 the answer to a WebSocket's request is 200, not 101.
  assert.deepEqual(handshakes, [200]);
  console.log('done');
} finally {
  await browser.close();
  relayed.close();
}
