// A dual-era stdio MCP server on the TypeScript SDK 2.x; argv[2] is where node_modules is.
// It says which calls were cancelled: on stderr, so that a test can read it in the gateway's
// log, and to whoever calls `confirm`.
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const require = createRequire(`${process.argv[2]}/`);
const { McpServer, ResourceTemplate, completable } = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const { z } = require('zod');

const text = (text) => ({ content: [{ type: 'text', text }] });
const cancelled = new Set();
const CITIES = ['Lisbon', 'London', 'Lima', 'Oslo'];

async function report(ctx, progress, total, message) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  if (progressToken !== undefined) {
    const params = { progressToken, progress, total, message };
    await ctx.mcpReq.notify({ method: 'notifications/progress', params });
  }
}

function build() {
  const server = new McpServer({ name: 'dual-ts', version: '1' });
  server.registerTool('echo', { inputSchema: z.looseObject({}) }, async (args) =>
    text(JSON.stringify(args)));
  server.registerTool('count', { inputSchema: z.object({ to: z.number() }) }, async ({ to }, ctx) => {
    for (let done = 1; done <= to; done++) await report(ctx, done, to, `counted ${done}`);
    return text(`counted to ${to}`);
  });
  server.registerTool('fail', {}, async () => {
    throw new Error('failed as asked');
  });
  server.registerTool('slow', { inputSchema: z.object({ name: z.string() }) }, async ({ name }, ctx) => {
    await report(ctx, 1, 2, 'started');
    try {
      await sleep(60_000, undefined, { signal: ctx.mcpReq.signal });
    } catch (error) {
      process.stderr.write(`cancelled ${name}\n`);
      cancelled.add(name);
      throw error;
    }
    return text('never cancelled');
  });
  server.registerTool('confirm', { inputSchema: z.object({ name: z.string() }) }, async ({ name }) => {
    for (let tries = 0; tries < 500 && !cancelled.has(name); tries++) await sleep(10);
    return text(cancelled.has(name) ? 'cancelled' : 'running');
  });
  server.registerTool('era', {}, async (ctx) =>
    text(ctx.mcpReq.envelope?.['io.modelcontextprotocol/protocolVersion'] ?? 'legacy'));
  server.registerResource('note', 'test://note', {}, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'a note' }],
  }));
  server.registerResource('notes', new ResourceTemplate('test://note/{n}', { list: undefined }), {},
    async (uri) => ({ contents: [{ uri: uri.href, text: 'a note' }] }));
  const city = completable(z.string(), (start) => CITIES.filter((name) => name.startsWith(start)));
  server.registerPrompt('visit', { argsSchema: z.object({ city }) }, async ({ city }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Plan a visit to ${city}.` } }],
  }));
  return server;
}

serveStdio(build);
