# watch.sh BIN FOLDER: runs the PostgreSQL whose data is in FOLDER/data for as long as
# somebody holds the other end of standard input, then stops it and removes FOLDER.
# A process that is killed with SIGKILL lets go of its pipes too.
"$1/pg_ctl" start -w -s -t 60 -D "$2/data" -l "$2/log" </dev/null || {
	tail -n 20 "$2/log"
	exit 1
}
head -n 1 "$2/data/postmaster.pid"
exec >>"$2/log" 2>&1
read -r _
"$1/pg_ctl" stop -m immediate -D "$2/data"
rm -rf "$2"
