#!/bin/sh
# Backs up the database of a Django project. Run it in the project's folder.
#
# Many projects keep the database in DATABASE_URL, in the environment or in a file .env, and read
# it with django-environ or dj-database-url. Holdfast takes the same variable, and since it is no
# argument, nobody sees the password in it.
set -eu

if [ -z "${DATABASE_URL:-}" ] && [ -f .env ]; then
	DATABASE_URL=$(sed -n "s/^\(export \)\{0,1\}DATABASE_URL=//p" .env | tail -n 1 | sed "s/^[\"']//; s/[\"']\$//")
	export DATABASE_URL
fi

# A project that has the database in its settings only says it itself.
if [ -z "${DATABASE_URL:-}" ]; then
	DATABASE_URL=$(python manage.py shell -c "$(cat "$(dirname "$0")/database_url.py")")
	export DATABASE_URL
fi

holdfast --quiet backup
