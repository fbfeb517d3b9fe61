#!/bin/sh
# Backs up the databases of this machine every night. Settings: holdfast.env, beside this file
# or wherever $HOLDFAST_ENV says. In the crontab of the user who may read the databases:
#
#   17 2 * * *  /srv/holdfast/holdfast-nightly.sh
#
# Talk and results go to a log. Errors go to stderr, which cron mails, and the script ends
# with Holdfast's exit code: see docs/exit-codes.md.
set -eu

env="${HOLDFAST_ENV:-$(dirname "$0")/holdfast.env}"
# shellcheck source=/dev/null
. "$env"
export HOLDFAST_REPO HOLDFAST_PASSWORD_FILE

exec >>"$LOG"
echo "--- $(date)"

# One run for all: they share what they have in common. A database that can't be backed up
# does not keep the others from it, but the command fails, and then nothing is pruned below.
# shellcheck disable=SC2086 # a list
holdfast --quiet backup $DATABASES

# Read a tenth back every night, and everything on Sundays.
sample=10%
if [ "$(date +%u)" = 7 ]; then sample=100%; fi
holdfast --quiet verify --all --sample "$sample"

holdfast --quiet prune --keep-last "$KEEP"
