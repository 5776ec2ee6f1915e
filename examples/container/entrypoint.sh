#!/bin/sh
# Runs a command as the first process of a container, which gets no signal that it does not handle:
# SIGTERM goes to the command, whose exit code becomes that of the container.
stopped= command=
trap 'stopped=yes; [ -z "$command" ] || kill -TERM "$command"' TERM INT
"$@" &
command=$!
[ -z "$stopped" ] || kill -TERM "$command"
code=127
while :; do
  stopped=
  wait "$command"
  ended=$?
  [ "$ended" = 127 ] || code=$ended # 127: it has been waited for, or does not exist.
  [ -n "$stopped" ] || exit "$code" # A signal may have ended the wait, and not the command.
done
