-- Prompts and resources are withdrawn as tools are, and listed beside them; `others` is a JSON object of lists of names.
drop index withdrawal_once;
alter table withdrawal rename column tool to name;
alter table withdrawal add column kind text collate "C" not null default 'tool';
create unique index withdrawal_once on withdrawal (server, kind, name, coalesce(tenant, ''));

alter table inventory add column others text collate "C" not null default '{}';
