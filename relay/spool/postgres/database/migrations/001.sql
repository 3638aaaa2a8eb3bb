-- Times of mail are a wall clock's, in nanoseconds since 1970; timestamps are the server's own. Sums are CRC-32C.

-- Who has the queue open. A row that is missing or dead has lost its leases, and settles nothing any more.
create table @.fence (
	inc     bigint primary key,
	host    text not null,
	version text not null,
	since   timestamptz not null default now(),
	dead    boolean not null default false
);

-- By itself, so that a heartbeat waits for nobody.
create table @.beat (
	inc     bigint primary key,
	"until" timestamptz not null
) with (fillfactor = 50);

-- Mail that is leased, from its first moment on, to the process that accepted it. Rows are inserted and deleted,
-- and nothing else, and have no second index: most mail is relayed at once and is never anywhere else.
create table @.fresh (
	id         text collate "C" primary key,
	owner      bigint not null,
	lane       text collate "C" not null,
	arrived    bigint not null,
	size       bigint not null,
	sum        bigint not null,
	due        bigint not null,
	open       int not null,
	head       bytea not null,
	head_sum   bigint not null,
	recipients bytea not null,
	state_sum  bigint not null,
	body       bytea not null
) with (toast_tuple_target = 8160);
alter table @.fresh alter column body set storage external;
alter table @.fresh alter column head set storage main;
alter table @.fresh alter column recipients set storage main;

-- All other mail: what is deferred, held, owes a report, shares its content, is large, or was not accepted by a
-- process that had time for it.
create table @.msg (
	id         text collate "C" primary key,
	content    text collate "C" not null,  -- the mail's id, and more where the content came before the mail
	lane       text collate "C" not null,
	turn       bigint,                     -- place in the lane; null: not due when it was stored
	due        bigint not null,            -- the greatest bigint: nothing to be tried
	owner      bigint,                     -- who has leased it
	batch      bigint,                     -- under which of the owner's leases
	crashes    int not null default 0,     -- how often its owner ended meanwhile
	remember   boolean not null,           -- its id is kept for a while when it goes
	shared     boolean not null,           -- others have the same content
	arrived    bigint not null,
	size       bigint not null,
	sum        bigint not null,
	open       int not null,               -- recipients that are not final
	head       bytea not null,
	head_sum   bigint not null,
	recipients bytea not null,
	state_sum  bigint not null
) with (fillfactor = 70);
create index msg_turn on @.msg (lane, turn) where owner is null and turn is not null;
create index msg_due on @.msg (lane, due) where owner is null and due < 9223372036854775807;
create index msg_owner on @.msg (owner) where owner is not null;
create index msg_content on @.msg (content);

create table @.content (
	id   text collate "C" not null,
	part int not null,
	sum  bigint not null,
	body bytea not null,
	primary key (id, part)
);
alter table @.content alter column body set storage external;

-- Contents that come before their mail, by whom.
create table @.staged (
	content text collate "C" primary key,
	owner   bigint not null
);

create table @.outbox (
	message text collate "C" not null,
	topic   text collate "C" not null,
	key     text collate "C" not null,
	due     bigint not null,
	payload bytea,
	primary key (message, topic, key)
);
create index outbox_due on @.outbox (topic, due);

-- Who may answer the entries of a message under a topic.
create table @.claim (
	message text collate "C" not null,
	topic   text collate "C" not null,
	token   bigint not null,
	owner   bigint not null,
	"until" timestamptz not null,
	primary key (message, topic)
);

-- Ids that are known though their messages have gone.
create table @.gone (
	id      text collate "C" primary key,
	"until" timestamptz not null
);
create index gone_until on @.gone ("until");

-- hold begins a transaction that writes: it is refused if me was taken over, and nobody can take me over before
-- it ends. A transaction whose client is silent ends by itself.
create function @.hold(me bigint) returns void language plpgsql as $$
begin
	perform set_config('synchronous_commit', 'on', true);
	perform set_config('idle_in_transaction_session_timeout', '10s', true);
	perform pg_advisory_xact_lock_shared(me);
	if not exists (select 1 from @.fence where inc = me and not dead) then
		raise exception 'taken over' using errcode = 'MW001';
	end if;
end $$;

-- answer refuses to let entries be answered that somebody else has claimed, or that were answered by others than
-- the messages in answers.
create function @.answer(messages text[], topics text[], keys text[], tokens bigint[], answers text[])
returns void language plpgsql as $$
begin
	if exists (select 1 from unnest(messages, topics, tokens) e (message, topic, token)
			join @.claim c on c.message = e.message and c.topic = e.topic
			where c.token <> e.token and c."until" > now()) then
		raise exception 'claimed by another' using errcode = 'MW002';
	end if;
	if cardinality(answers) > 0
			and exists (select 1 from unnest(messages, topics, keys) e (message, topic, key) where not exists (
				select 1 from @.outbox o where o.message = e.message and o.topic = e.topic and o.key = e.key))
			and exists (select 1 from unnest(answers) a (id) where not exists (
				select 1 from @.gone g where g.id = a.id)) then
		raise exception 'answered by another' using errcode = 'MW002';
	end if;
end $$;

-- When messages go their contents go with the last that shares one, and the ids of some are kept. Of messages
-- that share a content one transaction at a time looks who is left.
create function @.msg_gone() returns trigger language plpgsql as $$
begin
	perform pg_advisory_xact_lock(hashtextextended('@ ' || c, 0))
		from (select distinct content as c from old where shared order by 1) s;
	delete from @.content where id in (select content from old) and not exists (
		select 1 from @.msg m where m.content = content.id);
	insert into @.gone (id, "until") select id, now() + interval '1 hour' from old where remember order by id
		on conflict do nothing;
	return null;
end $$;
create trigger msg_gone after delete on @.msg referencing old table as old for each statement
	execute function @.msg_gone();

-- These live by insert and delete: a fifth of a large queue, the default, is too many dead rows to wait for.
alter table @.fresh set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
alter table @.msg set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
alter table @.content set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
alter table @.outbox set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
