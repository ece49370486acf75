# shellcheck shell=bash
# The plug is pulled again and again while the configuration changes without a pause.
# Sourced by tests/qemu/run, after image/lab/vm.sh.

# How many cuts; power_cuts=COUNT on the command line says otherwise.
STORM_CUTS=3
# How many changes a port stays open for; `storm` closes it then.
STORM_WINDOW=10

# Always the last acknowledged generation, or the one after it whose answer was lost with the machine; whole; and serving.
case_power_cuts() {
    local count=${CASE_COUNT:-$STORM_CUTS} after chance number acknowledged=0 base last found early=0 lost=0
    VM_REPLAY=$TOP/tests/qemu/replay
    VM_ACCELERATOR=$VM_STEADY
    boot
    # Changes are counted from the generation before the first.
    base=$(apply_demo)
    api GET /v1/config >"$LAB_DIR/before.json"
    web1_by_hand
    : >"$LAB_DIR/acknowledged"
    found=0
    for ((number = 1; number <= count; number++)); do
        storm_begins $((found + 1))
        random after 4000
        storm_cut_after 1 "$after"
        # One time in four it does not even get as far as to start again.
        random chance 4
        if ((chance == 0)); then
            vm_start "early-$number"
            random after 6000
            storm_cut_after 0 "$after"
            early=$((early + 1))
        fi
        vm_start "cut-$number"
        vm_until "the API answers" "$START" api_answers
        vm_until "a guest is translated" "$START" translated
        read -r last _ < <(tail -n 1 "$LAB_DIR/acknowledged")
        found=$(api GET /v1/config | jq -r '.hostname | ltrimstr("storm-")')
        ((found == last || found == last + 1)) ||
            { vm_words && fail "cut $number: change $last was acknowledged last, and $found is there"; }
        lost=$((lost + found - last))
        # No generation is skipped and none comes twice: what is there is as many changes after the first.
        [[ $(generation) == $((base + found)) ]] ||
            { vm_words && fail "cut $number: change $found is generation $(generation) instead of $((base + found))"; }
        storm_is_whole "$found" || { vm_words && fail "cut $number: change $found is not whole"; }
        printf '  ok  cut %d of %d: %d changes acknowledged since the last, generation %d\n' "$number" "$count" \
            $((last - acknowledged)) $((base + found))
        acknowledged=$last
    done
    printf '  ok  %d cuts in %d acknowledged changes, and %d while it started: none is lost; %d were there whose answers were not\n' \
        "$count" "$last" "$early" "$lost"
}

# storm_begins FIRST: changes from that number on.
storm_begins() {
    start_inside operator storm "$TOP/tests/qemu/storm" "$API" "$VM_TOKEN" "$1" "$LAB_DIR/acknowledged"
    STORM=$STARTED
    STORM_FIRST=$1
}

# storm_cut_after COUNT MILLISECONDS: pulls the plug so long after so many changes of this storm were acknowledged.
storm_cut_after() {
    local limit=$((SECONDS + START))
    until (($1 == 0 || $(tail -n 1 "$LAB_DIR/acknowledged" | cut -d ' ' -f 1) >= STORM_FIRST)) 2>/dev/null; do
        ((SECONDS < limit)) || { vm_words && fail "no change was acknowledged: $(cat "$LAB_DIR/storm.log")"; }
        sleep 0.05
    done
    sleep "$(($2 / 1000)).$(printf '%03d' $(($2 % 1000)))"
    vm_power_cut
    # Who asks a machine that is gone would wait for it.
    kill -KILL -- "-$STORM" 2>/dev/null || true
    wait "$STORM" 2>/dev/null || true
}

# storm_is_whole NUMBER: whether just the ports of the last changes are open, and everything else is as it was. Shows what
# differs.
storm_is_whole() {
    local first=$(($1 - STORM_WINDOW + 1)) number
    {
        jq -S 'del(.hostname) | .port_forwards |= keys' "$LAB_DIR/before.json"
        for ((number = first < 1 ? 1 : first; number <= $1; number++)); do echo "storm-$number"; done | sort
    } >"$LAB_DIR/wanted.json"
    {
        api GET /v1/config >"$LAB_DIR/after.json"
        jq -S 'del(.hostname) | .port_forwards |= (keys | map(select(startswith("storm-") | not)))' "$LAB_DIR/after.json"
        jq -r '.port_forwards | keys[] | select(startswith("storm-"))' "$LAB_DIR/after.json" | sort
    } >"$LAB_DIR/found.json"
    diff "$LAB_DIR/wanted.json" "$LAB_DIR/found.json" >&2
}
