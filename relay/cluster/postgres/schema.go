package postgres

import "mailwhy/relay/internal/postgres"

// tables are those of a cluster. Rows are few: accounts and members, not mail.
func tables() postgres.Tables {
	return postgres.Tables{Component: "cluster", MinReader: 1, Steps: []string{`
CREATE TABLE @.member (
	id      text COLLATE "C" PRIMARY KEY,
	host    text NOT NULL,
	version text NOT NULL,
	since   timestamptz NOT NULL,
	beat    timestamptz NOT NULL,
	until   timestamptz NOT NULL  -- when it is taken for dead
) WITH (fillfactor = 50);
CREATE TABLE @.account (
	name    text COLLATE "C" PRIMARY KEY,
	version bigint NOT NULL,
	state   text NOT NULL,        -- of relay/cluster/share, as JSON
	until   timestamptz NOT NULL  -- when it may be forgotten
) WITH (fillfactor = 50);
CREATE TABLE @.duty (
	name   text COLLATE "C" PRIMARY KEY,
	holder text NOT NULL,
	epoch  bigint NOT NULL,
	until  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE @.counter (
	what text COLLATE "C" PRIMARY KEY,
	id   text NOT NULL,           -- another one if the tables are made anew
	n    bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO @.counter VALUES
	('board', gen_random_uuid(), 0), ('suppression', gen_random_uuid(), 0);
CREATE TABLE @.board (
	name    text COLLATE "C" PRIMARY KEY,
	version bigint NOT NULL,      -- of the counter
	body    bytea NOT NULL,       -- empty once it is removed
	writer  text NOT NULL,
	at      timestamptz NOT NULL,
	until   timestamptz           -- when it lapses
);
CREATE UNIQUE INDEX board_version ON @.board (version);
CREATE TABLE @.suppression (
	key     bytea PRIMARY KEY,    -- scope and address, as lists compare them
	version bigint NOT NULL,      -- of the counter
	base    bigint NOT NULL,      -- the version that it replaced
	entry   text NOT NULL,        -- as JSON
	until   timestamptz           -- when it may be forgotten
);
CREATE UNIQUE INDEX suppression_version ON @.suppression (version);
CREATE INDEX suppression_until ON @.suppression (until);
CREATE TABLE @.secret (
	name    text COLLATE "C" PRIMARY KEY,
	version bigint NOT NULL,
	sealed  bytea NOT NULL,
	at      timestamptz NOT NULL
);
`}}
}
