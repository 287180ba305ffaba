-- Times are milliseconds since the epoch. A tenant of null means everybody. Text is compared byte by byte (collate "C"),
-- as SQLite compares it.

create table meta (
    id integer primary key check (id = 1),
    epoch text collate "C" not null,
    revision bigint not null,
    config_hash text collate "C"
);

create table withdrawal (
    server text collate "C" not null,
    tool text collate "C" not null,
    tenant text collate "C",
    withdrawn_by text collate "C" not null,
    withdrawn_at bigint not null
);

create unique index withdrawal_once on withdrawal (server, tool, coalesce(tenant, ''));

-- Keys and tenant tokens are of one kind of row. `revision` is the ledger's at the row's last change.
create table credential (
    number bigint generated always as identity primary key,
    id text collate "C" not null unique,
    hash text collate "C" not null unique,
    prefix text collate "C" not null,
    principal text collate "C" not null,
    name text collate "C" not null,
    role text collate "C",
    tenant text collate "C",
    created_at bigint not null,
    created_by text collate "C" not null,
    expires_at bigint,
    revoked_at bigint,
    revoked_by text collate "C",
    kind text collate "C" not null,
    tools text collate "C" not null,
    last_used_at bigint,
    replaced_by text collate "C",
    revision bigint not null
);

create index credential_revision on credential (revision);
create index credential_tenant on credential (tenant, number);

-- An issuer of '' is none. A revoked binding stays: who was once assigned something never falls back to the default.
create table binding (
    principal text collate "C" not null,
    role text collate "C" not null,
    scope text collate "C" not null,
    issuer text collate "C" not null,
    assigned_by text collate "C" not null,
    assigned_at bigint not null,
    revoked_at bigint,
    revoked_by text collate "C",
    primary key (principal, role, scope, issuer)
);

create table inventory (
    server text collate "C" primary key,
    digest text collate "C" not null,
    tools text collate "C" not null,
    updated_at bigint not null
);

create table replica (
    name text collate "C" primary key,
    token_hash text collate "C" not null,
    registered_at bigint not null
);

-- What a replica has applied, as the sync that it polls has heard it (`lacking`: a JSON list of ranges of revisions that
-- it has not); `sync` is one life of a sync.
create table acknowledgement (
    replica text collate "C" primary key,
    token_hash text collate "C" not null,
    sync text collate "C" not null,
    epoch text collate "C" not null,
    revision bigint not null,
    lacking text collate "C" not null,
    at bigint not null
);

-- What sync last published under a bundle's name, by the digest of its content, and the revision that recorded it.
create table bundle (
    name text collate "C" primary key,
    digest text collate "C" not null,
    revision bigint not null
);

-- One row for each life of a process that wrote events: `number` and `hash` are of its newest event, `pruned_…` of its
-- newest deleted one; before there is one, `hash` is the row's own `link` (docs/audit.md).
create table audit_writer (
    id bigint primary key,
    name text collate "C" not null unique,
    link bytea not null,
    number bigint not null,
    hash bytea not null,
    pruned_number bigint not null,
    pruned_hash bytea not null
);

-- `body` is the event, the columns are what is looked for.
create table audit (
    seq bigint generated always as identity primary key,
    writer bigint not null,
    number bigint not null,
    prev bytea not null,
    hash bytea not null,
    time bigint not null,
    type text collate "C" not null,
    outcome text collate "C" not null,
    tenant text collate "C",
    reason text collate "C",
    principal text collate "C",
    target text collate "C",
    body text collate "C" not null
);

create unique index audit_number on audit (writer, number);
create index audit_time on audit (time);
create index audit_tenant on audit (tenant, seq);
create index audit_principal on audit (principal, seq);
create index audit_target on audit (target, seq);
