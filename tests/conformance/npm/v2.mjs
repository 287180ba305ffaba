// The TypeScript SDK 2.x, in the era that `mode` asks for ("legacy", "auto", or a version to insist on):
// node v2.mjs '{"url", "headers", "mode", "calls", "gets", "reads"}'

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { IDENTITY, visit } from './visit.mjs';

const plan = JSON.parse(process.argv[2]);
const mode = ['legacy', 'auto'].includes(plan.mode) ? plan.mode : { pin: plan.mode };
const client = new Client(IDENTITY, { versionNegotiation: { mode } });
const transport = new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } });
await client.connect(transport);
const seen = await visit(client, plan);
console.log(JSON.stringify({ version: client.getNegotiatedProtocolVersion(), ...seen }));
await client.close();
