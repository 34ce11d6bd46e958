//go:build testhooks

package apps

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// postgres has the parts that driver and check share. The server is ended by its process id: its own files may be gone
// with the mount.
const postgres = `set -e; B=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1); D=$0/pg/data
S=$(mktemp -d); chown postgres $S
as() { cd $S; runuser -u postgres -- "$@"; }
start() {
	as $B/pg_ctl -w -t 60 -D $D -l $S/log -o "-k $S -c listen_addresses= -c max_wal_size=2MB -c min_wal_size=2MB" \
		start >$S/start 2>&1 || { cat $S/start $S/log >&2; exit 1; }
	P=$(head -1 $D/postmaster.pid)
}
stop() {
	if [ -n "$P" ]; then kill -QUIT $P 2>/dev/null || true; while kill -0 $P 2>/dev/null; do sleep 0.05; done; fi
	rm -rf $S
}
trap stop EXIT
query() { as stdbuf -oL $B/psql -h $S -qAt -v ON_ERROR_STOP=1 -X postgres; }
`

func postgresDriver(dir string, transactions int) *exec.Cmd {
	script := postgres + `mkdir $0/pg; chown postgres $0/pg
as $B/initdb -D $D -k --wal-segsize=1 -A trust >/dev/null
start
{ echo 'CREATE TABLE t (id int PRIMARY KEY, data text);'; echo '\echo ack 0'
for i in $(seq $1); do
	echo "INSERT INTO t VALUES ($i, repeat(md5('$i'), 300));"; echo "\\echo ack $i"
	if [ $((i % 20)) = 0 ]; then echo 'CHECKPOINT;'; fi
done; } | query`
	return exec.Command("bash", "-c", script, dir, strconv.Itoa(transactions))
}

// postgresCheck has the server recover, then reads all rows, and has it verify its checksums.
func postgresCheck(dir string) (int, error) {
	script := postgres + `rm -f $D/postmaster.pid
start
echo "SELECT count(*), coalesce(max(id), 0), count(*) FILTER (WHERE data = repeat(md5(id::text), 300)) FROM t;" | query
as $B/pg_ctl -w -D $D -m fast stop >/dev/null; P=
as $B/pg_checksums --check -D $D >/dev/null`
	out, err := exec.Command("bash", "-c", script, dir).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	var rows, last, right int
	if _, err := fmt.Sscanf(strings.ReplaceAll(string(out), "|", " "), "%d %d %d", &rows, &last, &right); err != nil ||
		rows != last || right != rows {
		return 0, fmt.Errorf("the server says %q", out)
	}
	return last, nil
}
