// Drives an official TypeScript MCP client: `node client.mjs NODE_FOLDER v1|v2`.
// The conversations on stdin and the answers on stdout are those of client.py.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const STEP_MS = 15_000;
const CONVERSATION_MS = 60_000;
const [folder, kind] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { Client, StreamableHTTPClientTransport } =
  kind === 'v1'
    ? {
        ...require('@modelcontextprotocol/sdk/client/index.js'),
        ...require('@modelcontextprotocol/sdk/client/streamableHttp.js'),
      }
    : require('@modelcontextprotocol/client');

const LISTS = {
  tools: ['listTools', 'tools'],
  resources: ['listResources', 'resources'],
  templates: ['listResourceTemplates', 'resourceTemplates'],
  prompts: ['listPrompts', 'prompts'],
};

const call = (client, step, options) =>
  kind === 'v1'
    ? client.callTool({ name: step.name, arguments: step.args ?? {} }, undefined, options)
    : client.callTool({ name: step.name, arguments: step.args ?? {} }, options);

const STEPS = {
  list: (client, step) => client[LISTS[step.what][0]](step.cursor ? { cursor: step.cursor } : {}),
  walk: async (client, step) => {
    const [method, key] = LISTS[step.what];
    const names = [];
    let pages = 0;
    let cursor;
    do {
      // Without params v2 walks by itself; with an empty one too, so its walk counts as one page.
      const page = await client[method](cursor ? { cursor } : {});
      names.push(...page[key].map((entry) => entry.name));
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor !== undefined);
    return { pages, names };
  },
  call: async (client, step) => {
    if (!step.progress) return call(client, step, {});
    const progress = [];
    const onprogress = (p) => progress.push([p.progress, p.total ?? null, p.message ?? null]);
    return { ...(await call(client, step, { onprogress })), progress };
  },
  cancel: async (client, step) => {
    const abort = new AbortController();
    const onprogress = () => abort.abort();
    try {
      return await call(client, step, { onprogress, signal: abort.signal });
    } catch (error) {
      if (!abort.signal.aborted) throw error;
      return { cancelled: true };
    }
  },
  read: (client, step) => client.readResource({ uri: step.uri }),
  prompt: (client, step) => client.getPrompt({ name: step.name, arguments: step.args ?? {} }),
  complete: (client, step) => client.complete({ ref: step.ref, argument: step.argument }),
  ping: (client) => client.ping(),
  together: (client, step) => Promise.all(step.steps.map((each) => outcome(client, each))),
};

class Hung extends Error {}

function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Hung()), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const described = (error) => ({
  type: error.constructor.name,
  code: error.code ?? null,
  message: error.message,
});

async function outcome(client, step) {
  const ms = step.within ? step.within * 1000 : STEP_MS;
  try {
    return { result: await within(ms, STEPS[step.do](client, step)) };
  } catch (error) {
    return error instanceof Hung ? { hung: ms / 1000 } : { error: described(error) };
  }
}

function build(mode) {
  const options = mode === 'legacy' ? {} : { versionNegotiation: { mode } };
  return new Client({ name: `testbed-${kind}`, version: '1' }, options);
}

async function converse({ url, mode, steps }) {
  const answer = { connected: null, outcomes: [], died: null };
  const client = build(mode);
  const transport = new StreamableHTTPClientTransport(new URL(url));
  const talk = async () => {
    await client.connect(transport);
    answer.connected = {
      protocolVersion: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
      serverInfo: client.getServerVersion() ?? null,
      capabilities: client.getServerCapabilities() ?? null,
    };
    for (const step of steps) answer.outcomes.push(await outcome(client, step));
    await transport.terminateSession?.();
  };
  try {
    await within(CONVERSATION_MS, talk());
  } catch (error) {
    answer.died = described(error);
  }
  await client.close().catch(() => {});
  return answer;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await converse(JSON.parse(line)))}\n`);
}
process.exit(0);
