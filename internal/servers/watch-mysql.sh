# watch-mysql.sh FOLDER SERVER ADMIN: runs the MariaDB or MySQL whose settings are in FOLDER/my.cnf for
# as long as somebody holds the other end of standard input, then ends it and removes FOLDER.
# A process that is killed with SIGKILL lets go of its pipes too.
"$2" --defaults-file="$1/my.cnf" </dev/null >>"$1/log" 2>&1 &
server=$!
until [ -S "$1/sock" ]; do
	kill -0 "$server" 2>/dev/null || {
		tail -n 20 "$1/log"
		exit 1
	}
	sleep 0.05
done
# It listens before it is ready, so this waits for the rest.
"$3" --defaults-file="$1/client.cnf" status >>"$1/log" 2>&1 || {
	tail -n 20 "$1/log"
	kill -KILL "$server"
	exit 1
}
echo "$server"
exec >>"$1/log" 2>&1
read -r _
kill -KILL "$server"
wait "$server"
rm -rf "$1"
