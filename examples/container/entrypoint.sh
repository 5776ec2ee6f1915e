#!/bin/sh
# Runs a command as the first process of a container, which gets no signal that it does not handle:
# SIGTERM goes to the command, whose exit code becomes that of the container.
stopped= command=
trap 'stopped=yes; [ -z "$command" ] || kill -TERM "$command"' TERM INT
"$@" &
command=$!
[ -z "$stopped" ] || kill -TERM "$command"
wait "$command"
code=$?
while kill -0 "$command" 2>/dev/null; do # A signal has ended the wait, and not the command.
  wait "$command"
  code=$?
done
exit "$code"
