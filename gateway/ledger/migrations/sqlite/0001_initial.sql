-- Times are milliseconds since the epoch. A tenant of null means everybody.

create table meta (
    id integer primary key check (id = 1),
    epoch text not null,
    revision integer not null,
    config_hash text
) strict;

create table withdrawal (
    server text not null,
    tool text not null,
    tenant text,
    withdrawn_by text not null,
    withdrawn_at integer not null
) strict;

create unique index withdrawal_once on withdrawal (server, tool, coalesce(tenant, ''));

create table credential (
    number integer primary key,
    id text not null unique,
    hash text not null unique,
    prefix text not null,
    principal text not null,
    name text not null,
    role text,
    tenant text,
    created_at integer not null,
    created_by text not null,
    expires_at integer,
    revoked_at integer,
    revoked_by text
) strict;

create table inventory (
    server text primary key,
    digest text not null,
    tools text not null,
    updated_at integer not null
) strict;

create table replica (
    name text primary key,
    token_hash text not null,
    registered_at integer not null
) strict;

-- autoincrement, because a sequence number must never come back after the newest events were deleted.
create table audit (
    seq integer primary key autoincrement,
    time integer not null,
    type text not null,
    outcome text not null,
    tenant text,
    reason text,
    body text not null
) strict;

create index audit_time on audit (time);
