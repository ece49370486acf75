# shellcheck shell=bash
# Speaks to the shell on a debug image's console. Sourced by tests/qemu/run, after image/lab/vm.sh.

CONSOLE_COMMANDS=0

# console COMMAND: runs a line in the machine and prints what it said. Waits for its end, half a minute at most.
console() {
    local limit=$((SECONDS + 30)) said=$LAB_DIR/console.said mark
    CONSOLE_COMMANDS=$((CONSOLE_COMMANDS + 1))
    mark=$BASHPID-$CONSOLE_COMMANDS
    # The shell's echo of this line holds no digit where its output does. The connection stays until the end was seen:
    # what a slow serial port has not taken yet would go down with it. What is read there is the machine's words, byte by
    # byte; QEMU's record of the console has some twice when whoever reads is slow.
    : >"$said"
    # shellcheck disable=SC2094  # it is read until what is written to it has its end
    {
        # shellcheck disable=SC2016  # the machine's shell expands it
        printf 'echo; echo begin-%s-$((0)); %s; echo; echo end-%s-$((0))\n' "$mark" "$1" "$mark"
        until grep -aq "^end-$mark-0" "$said" || ((SECONDS >= limit)) || ! vm_alive; do
            sleep 0.05
        done
    } | socat -t 0 - "UNIX-CONNECT:$VM_SOCKET" >"$said"
    tr -d '\r' <"$said" | sed -n "/^begin-$mark-0/,/^end-$mark-0/p" | sed '1d;$d'
}

# console_ready: whether the shell is there. It has the console for itself, since the router's own lines leave it to it.
console_ready() {
    grep -aq 'vrouter# ' "$VM_CONSOLE"
}

# console_shows COMMAND PATTERN: whether a line's output matches.
console_shows() {
    console "$1" | grep -aqE "$2"
}
