// What an agent does at a server, with a connected client of either SDK: lists everything, calls, gets and reads what
// it is told to, and says what came back. Methods that the server does not declare are left alone.

async function outcome(promise) {
  try {
    return { result: await promise };
  } catch (error) {
    return { error: { code: error.code, message: error.message } };
  }
}

async function all(list, member) {
  const found = [];
  let cursor;
  do {
    const page = await list(cursor === undefined ? {} : { cursor });
    found.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

export async function visit(client, plan) {
  const offered = client.getServerCapabilities() ?? {};
  const seen = { capabilities: offered, server: client.getServerVersion() ?? null, calls: [], gets: [], reads: [] };
  seen.tools = await all((page) => client.listTools(page), 'tools');
  for (const call of plan.calls ?? []) seen.calls.push(await outcome(client.callTool(call)));
  if (offered.prompts) {
    seen.prompts = await all((page) => client.listPrompts(page), 'prompts');
    for (const get of plan.gets ?? []) seen.gets.push(await outcome(client.getPrompt(get)));
  }
  if (offered.resources) {
    seen.resources = await all((page) => client.listResources(page), 'resources');
    seen.templates = await all((page) => client.listResourceTemplates(page), 'resourceTemplates');
    for (const read of plan.reads ?? []) seen.reads.push(await outcome(client.readResource(read)));
  }
  return seen;
}

export const IDENTITY = { name: 'portcullis-tests', version: '1' };
