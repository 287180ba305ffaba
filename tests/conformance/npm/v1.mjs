// The TypeScript SDK 1.x, which knows the older era alone: node v1.mjs '{"url", "headers", "calls", "gets", "reads"}'

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { IDENTITY, visit } from './visit.mjs';

const plan = JSON.parse(process.argv[2]);
const client = new Client(IDENTITY);
const transport = new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } });
await client.connect(transport);
const seen = await visit(client, plan);
console.log(JSON.stringify({ version: transport.protocolVersion, ...seen }));
await client.close();
