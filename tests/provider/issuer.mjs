// One OpenID provider (panva's oidc-provider, certified) on a free port of loopback; it prints its address when it is up.
//
//     node issuer.mjs --resource https://gateway.example.com/mcp --tenant tenant:a [--alg ES256]
//
// Agents get access tokens by client credentials, `agent-a` with the secret `agent-a-secret`: a JWT (RFC 9068) for the
// configured resource (RFC 8707), an opaque token where no resource is asked for. Under /__test/ it misbehaves on order.

import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import Provider, { errors } from "oidc-provider";

const { values: options } = parseArgs({
  options: {
    resource: { type: "string" },
    tenant: { type: "string" },
    alg: { type: "string", default: "ES256" },
  },
});
const KINDS = { ES256: ["ec", { namedCurve: "P-256" }], RS256: ["rsa", { modulusLength: 2048 }], EdDSA: ["ed25519", {}] };
const LIFETIME = 300;

function makeKey() {
  const { privateKey } = generateKeyPairSync(...KINDS[options.alg]);
  const jwk = privateKey.export({ format: "jwk" });
  const kid = createHash("sha256").update(JSON.stringify(jwk)).digest("base64url").slice(0, 16);
  return { privateKey, jwk: { ...jwk, kid, use: "sig", alg: options.alg } };
}

function client(id, metadata) {
  return {
    client_id: id,
    client_secret: `${id}-secret`,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: options.alg,
    ...metadata,
  };
}

const clients = [
  client("agent-a", { tenant_id: options.tenant, groups: ["developers"] }),
  client("agent-without-tenant", { groups: ["operators"] }),
];

function resourceServer(_context, resource) {
  if (resource !== options.resource) throw new errors.InvalidTarget();
  return { scope: "mcp:tools", audience: resource, accessTokenTTL: LIFETIME, accessTokenFormat: "jwt", jwt: { sign: { alg: options.alg } } };
}

// A provider keeps its keys for life, so that a rotation is another provider of the same name.
function provide() {
  const made = new Provider(url, {
    clients,
    jwks: { keys: keys.map((key) => key.jwk) },
    scopes: ["mcp:tools"],
    extraClientMetadata: { properties: ["tenant_id", "groups"] },
    extraTokenClaims: (_context, token) => ({ tenant_id: token.client.tenant_id, groups: token.client.groups }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, defaultResource: () => undefined, getResourceServerInfo: resourceServer },
    },
  });
  return made.callback();
}

function mint({ header = {}, claims = {}, foreign = false }) {
  const now = Math.floor(Date.now() / 1000);
  const { privateKey, jwk } = foreign ? makeKey() : keys[0];
  const good = { iss: url, sub: "agent-a", aud: options.resource, iat: now, exp: now + LIFETIME, tenant_id: options.tenant };
  const segment = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = { alg: options.alg, typ: "at+jwt", kid: keys[0].jwk.kid, ...(foreign && { jwk: publicPart(jwk) }), ...header };
  const signed = `${segment(head)}.${segment({ ...good, jti: randomUUID(), ...claims })}`;
  const digest = options.alg === "EdDSA" ? null : "sha256";
  const signature = sign(digest, Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

function publicPart({ d, p, q, dp, dq, qi, ...rest }) {
  return rest;
}

const controls = {
  rotate: ({ keep }) => {
    keys = keep ? [makeKey(), ...keys] : [makeKey()];
    provider = provide();
  },
  jwks: ({ status, delay }) => {
    trouble = { status: Number(status ?? 200), delay: Number(delay ?? 0) };
  },
  stats: () => ({ jwks: fetches }),
  mint: (order) => ({ token: mint(order) }),
};

async function answer(request, response) {
  const { pathname } = new URL(request.url, url);
  if (pathname.startsWith("/__test/")) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const said = controls[pathname.slice("/__test/".length)](body ? JSON.parse(body) : {});
    return response.setHeader("Content-Type", "application/json").end(JSON.stringify(said ?? {}));
  }
  if (pathname === "/jwks") {
    fetches += 1;
    await new Promise((resolve) => setTimeout(resolve, trouble.delay));
    if (trouble.status !== 200) return response.writeHead(trouble.status).end();
  }
  return provider(request, response);
}

let [keys, fetches, trouble] = [[makeKey()], 0, { status: 200, delay: 0 }];
let provider, url;
const server = createServer(answer).listen(0, "127.0.0.1", () => {
  url = `http://127.0.0.1:${server.address().port}`;
  provider = provide();
  console.log(url);
});
