-- Keys and tenant tokens are of one kind of row. `revision` is the ledger's at the row's last change.
alter table credential add column kind text not null default 'api_key';
alter table credential add column tools text not null default '[]';
alter table credential add column last_used_at integer;
alter table credential add column replaced_by text;
alter table credential add column revision integer not null default 1;

create index credential_revision on credential (revision);
create index credential_tenant on credential (tenant, number);

-- An issuer of '' is none. A revoked binding stays: who was once assigned something never falls back to the default.
create table binding (
    principal text not null,
    role text not null,
    scope text not null,
    issuer text not null,
    assigned_by text not null,
    assigned_at integer not null,
    revoked_at integer,
    revoked_by text,
    primary key (principal, role, scope, issuer)
) strict;

-- One row for each life of a process that wrote events: `number` and `hash` are of its newest event, `pruned_…` of its
-- newest deleted one; before there is one, `hash` is the row's own `link` (docs/audit.md).
create table audit_writer (
    id integer primary key,
    name text not null unique,
    link blob not null,
    number integer not null,
    hash blob not null,
    pruned_number integer not null,
    pruned_hash blob not null
) strict;

-- A writer of 0 is none: events from before there was a chain. `body` is the event, the columns are what is looked for.
alter table audit add column writer integer not null default 0;
alter table audit add column number integer not null default 0;
alter table audit add column prev blob not null default x'';
alter table audit add column hash blob not null default x'';
alter table audit add column principal text;
alter table audit add column target text;

update audit set
    principal = json_extract(body, '$.actor.principal'),
    target = coalesce(json_extract(body, '$.target.id'), json_extract(body, '$.target.name'));

create unique index audit_number on audit (writer, number) where writer > 0;
create index audit_tenant on audit (tenant, seq);
create index audit_principal on audit (principal, seq);
create index audit_target on audit (target, seq);
