-- What a replica has applied, as the sync that it polls has heard it (`lacking`: a JSON list of ranges of revisions that
-- it has not); `sync` is one life of a sync.

create table acknowledgement (
    replica text primary key,
    token_hash text not null,
    sync text not null,
    epoch text not null,
    revision integer not null,
    lacking text not null,
    at integer not null
) strict;
