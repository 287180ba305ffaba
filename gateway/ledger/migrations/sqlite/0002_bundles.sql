-- What sync last published under a bundle's name, by the digest of its content, and the revision that recorded it.

create table bundle (
    name text primary key,
    digest text not null,
    revision integer not null
) strict;
