package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// mariaSQL makes a large table and a smaller one from hashes of each row's number: the same in every run.
const mariaSQL = `
CREATE TABLE events (
	id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, at datetime(6) NOT NULL, kind enum('order','payment','login','shipping','refund') NOT NULL,
	actor char(32) CHARACTER SET latin1 NOT NULL, amount decimal(12,2), message varchar(200) NOT NULL, KEY at (at), KEY actor (actor)
) DEFAULT CHARSET=utf8mb4;
INSERT INTO events (id, at, kind, actor, amount, message)
SELECT seq, '2024-01-01' + INTERVAL seq * 17 SECOND, 1 + seq %% 5, md5(seq %% 50000), IF(seq %% 3, seq %% 100000 / 100, NULL),
	concat('the order ', md5(seq), ' was shipped to customer ', seq %% 9973, ' with status ', left(md5(seq * 7), 6), IF(seq %% 4, '', ' after a retry'))
FROM seq_1_to_%[1]d;
CREATE TABLE accounts (id int NOT NULL PRIMARY KEY, name varchar(80) NOT NULL, balance bigint NOT NULL, note text, KEY name (name)) DEFAULT CHARSET=utf8mb4;
INSERT INTO accounts SELECT seq, concat('Account ', md5(seq)), seq * 31 %% 1000003, repeat(concat(md5(seq * 3), ' '), 1 + seq %% 6) FROM seq_1_to_%[2]d;
ANALYZE TABLE events, accounts;
`

// mariaRecentSQL changes 1 % of the rows, mostly recent ones.
const mariaRecentSQL = `
UPDATE events SET message = concat(message, ', seen') WHERE id > %[1]d - %[1]d / 200;
INSERT INTO events (at, kind, actor, amount, message) SELECT at, kind, actor, amount, 'again' FROM events WHERE id > %[1]d - %[1]d / 400;
UPDATE accounts SET balance = balance + 1 WHERE id <= %[2]d / 100;
`

// maria starts the server and makes the database, once. The data fits into the buffer pool, as the data of the other benchmarks fits into the page
// cache: else a run right after the data was made measures how the server writes pages out.
func (b *bench) maria(ctx context.Context) error {
	if b.my != nil {
		return nil
	}
	my, err := servers.StartMySQL("mariadb", servers.MySQLOptions{Durable: true, Settings: []string{"innodb_buffer_pool_size = 2G", "innodb_log_file_size = 512M", "max_allowed_packet = 64M"}})
	if err != nil {
		return err
	}
	start := time.Now()
	b.my = my
	if _, err = my.Query("", "CREATE DATABASE bench"); err == nil {
		_, err = my.Query("bench", fmt.Sprintf(mariaSQL, b.opt.mysql, b.opt.mysql/10))
	}
	if err != nil {
		_ = my.Close()
		b.my = nil
		return err
	}
	size, err := my.Query("", "SELECT round(sum(data_length + index_length) / 1048576) FROM information_schema.tables WHERE table_schema = 'bench'")
	b.note("MariaDB data: %s MB in the server with its indexes, %d rows of `events` and %d of `accounts`.", size, b.opt.mysql, b.opt.mysql/10)
	b.say("made the MariaDB database in %.0f s", time.Since(start).Seconds())
	return err
}

func (b *bench) mariaTool(script string) *exec.Cmd {
	cmd := b.command("bash", "-c", "set -o pipefail; "+script)
	cmd.Dir = b.dir
	cmd.Env = append(cmd.Env, "MYSQL_PWD="+b.my.Password(), "S="+b.my.Socket())
	return cmd
}

func (b *bench) mariaOurs(repo string, args ...string) *exec.Cmd {
	cmd := b.holdfast(repo, args...)
	cmd.Env = append(cmd.Env, "MYSQL_PWD="+b.my.Password())
	return cmd
}

func (b *bench) mariaURL(db string) string {
	return "mysql://root@localhost/" + db + "?socket=" + b.my.Socket()
}

const kindMaria = "backup of the MariaDB data"

func (b *bench) mariaDB(ctx context.Context) error {
	if err := b.maria(ctx); err != nil {
		return err
	}
	jobs := strconv.Itoa(b.opt.workers)
	our := contender{name: "holdfast backup (MariaDB)", before: b.newRepo("repo.my"), after: b.remember(kindMaria),
		run: func() *exec.Cmd { return b.mariaOurs("repo.my", "backup", "--jobs", jobs, b.mariaURL("bench")) }}
	dump := contender{name: "mariadb-dump | zstd -1", run: func() *exec.Cmd {
		return b.mariaTool("mariadb-dump -uroot -S$S --single-transaction bench | zstd -q -1 -f -o dump.sql.zst")
	}}
	mydumper := contender{name: "mydumper", run: func() *exec.Cmd {
		return b.mariaTool("rm -rf mydump && mydumper -u root -p \"$MYSQL_PWD\" -S $S -B bench -t " + jobs + " --compress -o mydump")
	}}
	got, err := b.race(ctx, append(b.ours(our), dump, mydumper)...)
	if err != nil {
		return err
	}
	b.compare("MariaDB backup: compressed, encrypted, deduplicated", "`mariadb-dump --single-transaction | zstd -1`", got[our.name], got[dump.name], 0.6)
	b.compare("MariaDB backup: compressed, encrypted, deduplicated", "`mydumper -t 2 --compress`", got[our.name], got[mydumper.name], 0.9)
	empty := func() error {
		_, err := b.my.Query("", "DROP DATABASE IF EXISTS restored; CREATE DATABASE restored")
		return err
	}
	restore := contender{name: "holdfast restore (MariaDB)", before: empty, after: b.remember("restore of the MariaDB data"),
		run: func() *exec.Cmd {
			return b.mariaOurs("repo.my", "restore", "latest", "--jobs", jobs, "--to", b.mariaURL("restored"))
		}}
	client := contender{name: "mariadb < dump", before: empty, run: func() *exec.Cmd { return b.mariaTool("zstd -dcq dump.sql.zst | mariadb -uroot -S$S restored") }}
	myloader := contender{name: "myloader", before: empty, run: func() *exec.Cmd {
		return b.mariaTool("myloader -u root -p \"$MYSQL_PWD\" -S $S -d mydump -B restored -t " + jobs)
	}}
	if got, err = b.race(ctx, append(b.ours(restore), client, myloader)...); err != nil {
		return err
	}
	b.compare("MariaDB restore", "`mariadb < dump.sql` (from zstd)", got[restore.name], got[client.name], 0.6)
	b.compare("MariaDB restore", "`myloader -t 2`", got[restore.name], got[myloader.name], 0.9)
	if b.opt.peers {
		return nil
	}
	return b.mariaSecond(ctx, jobs)
}

// mariaSecond measures what a second backup adds.
func (b *bench) mariaSecond(ctx context.Context, jobs string) error {
	before, err := size(b.path("repo.my"))
	if err != nil {
		return err
	}
	if _, err := b.my.Query("bench", fmt.Sprintf(mariaRecentSQL, b.opt.mysql, b.opt.mysql/10)); err != nil {
		return err
	}
	if _, err := measure(ctx, b.mariaOurs("repo.my", "backup", "--jobs", jobs, b.mariaURL("bench"))); err != nil {
		return err
	}
	after, err := size(b.path("repo.my"))
	if err != nil {
		return err
	}
	b.compareBytes("MariaDB second backup, 1 % of the rows changed, mostly recent ones: new bytes", "our first", after-before, before, 0.12)
	return nil
}
